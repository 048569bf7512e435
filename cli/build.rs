//! Link settings of the program.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Cargo strips less than the profile asks for if a package has its own optimisation
    // level.
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") && env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
}
