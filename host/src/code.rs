//! The settings that compiled code depends on. The build script compiles under
//! the same.

use wasmtime::Config;

pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config
}
