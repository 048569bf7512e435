//! Finds circles of files: files of one crate that use each other in a ring, so that none
//! of them can be read before the others.
//!
//! A file uses another file if its code names the other module or an item in it, with `use`
//! or with a path: `crate::a::b`, `super::…`, `self::…`, or one that begins with a submodule
//! or an imported name. An item that is named through a re-export counts as used from the
//! file that defines it. So a parent may use its children, or they may use it, but not both.
//!
//! The following does not count:
//!
//! - `mod child;`, and a re-export from a child (`pub use child::Item`), unless the parent's
//!   own code uses the name too. So a `mod.rs` or `lib.rs` that only declares and re-exports
//!   uses nothing.
//! - Whatever is under `#[cfg(test)]`: the tests in a file may use what is built on it.
//! - Links in doc comments.
//!
//! The check reads tokens, not the grammar. It does not see names that a macro generates,
//! and treats a `use` inside a function as one of the whole module.

mod code;
mod graph;
mod modules;
mod tokens;

use std::fs;
use std::path::Path;

use crate::shell::workspace;

/// Prints every circle in the crates of the workspace.
///
/// # Errors
/// There is a circle, or a file can't be read.
pub(crate) fn check() -> Result<(), String> {
    let root = workspace();
    let mut count = 0;
    for member in members(&read(&root.join("Cargo.toml"))?)? {
        let folder = root.join(&member);
        let name = member.rsplit('/').next().unwrap_or(&member);
        let roots = ["src/lib.rs", "src/main.rs", "build.rs"].map(|file| folder.join(file));
        for file in roots.iter().filter(|file| file.exists()) {
            for circle in graph::circles(&modules::Crate::load(file, &read)?) {
                println!("{name}: {circle}");
                count += 1;
            }
        }
    }
    if count == 0 { Ok(()) } else { Err(format!("found {count} circles of files: move what both sides need to a file of its own")) }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Returns the folders of the members that a workspace's manifest lists.
pub(crate) fn members(manifest: &str) -> Result<Vec<String>, String> {
    let (_, rest) = manifest.split_once("\nmembers = [").ok_or("Cargo.toml lists no members")?;
    let (list, _) = rest.split_once(']').ok_or("Cargo.toml does not end its list of members")?;
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::{graph, members, modules::Crate};

    /// Returns the circles of a crate with these files, of which the first is its root.
    fn circles(files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let texts: BTreeMap<PathBuf, &str> = files.iter().map(|(path, text)| (PathBuf::from(path), *text)).collect();
        let read = |path: &Path| texts.get(path).map(|text| (*text).to_owned()).ok_or_else(|| format!("{}: missing", path.display()));
        let root = files.first().map_or(Path::new(""), |(path, _)| Path::new(path));
        Ok(graph::circles(&Crate::load(root, &read)?).into_iter().collect())
    }

    /// Whether two files are a circle in a crate whose root only declares them.
    fn is_circle(a: &str, b: &str) -> Result<bool, String> {
        let found = circles(&[("src/lib.rs", "mod a;\nmod b;"), ("src/a.rs", a), ("src/b.rs", b)])?;
        assert!(found.is_empty() || found == ["a -> b -> a"], "{found:?}");
        Ok(!found.is_empty())
    }

    #[test]
    fn files_that_use_each_other_are_a_circle_however_they_are_named() -> Result<(), String> {
        let b = "use crate::a::A;\npub struct B(A);";
        for a in [
            "use crate::b::B;",
            "use crate::b;",
            "use crate::{b::{self, B as C}, other};",
            "use super::b::*;",
            "pub fn f() -> crate::b::B { loop {} }",
            "fn f() { super::b::B::new::<u8>() }",
            "mod inner { fn f() { super::super::b::f() } }",
            "fn f() { use crate::b::B; }",
            "#[cfg(unix)]\npub(crate) use crate::b::B;",
            "macro_rules! m { () => { $crate::b::B } }",
            "fn f() { let c = '\"'; let d = 'x'; crate::b::f::<'static>(\"\\\"\", r#\"\"#, b'\\'') }",
        ] {
            assert!(is_circle(&format!("{a}\npub struct A;"), b)?, "{a}");
        }
        Ok(())
    }

    #[test]
    fn comments_texts_tests_and_other_crates_do_not_count() -> Result<(), String> {
        let b = "use crate::a::A;\npub struct B(A);";
        for a in [
            "// use crate::b::B;\n/* /* crate::b */ crate::b */ pub struct A;",
            "//! [`crate::b::B`]\n/// [`B`](crate::b::B)\npub struct A;",
            "const TEXT: &str = \"use crate::b::B;\";",
            "const TEXT: &str = r##\"\"# crate::b::B\"##;",
            "pub struct A;\n#[cfg(test)]\nmod tests { use crate::b::B; use super::*; }",
            "#[cfg(all(test, unix))]\nuse crate::b::{B, C};\npub struct A;",
            "use b::B;",
            "use ::b::B;",
            "fn f(b: B) { b.crate_b() }",
            "fn f() { outer::crate_b::b() }",
        ] {
            assert!(!is_circle(a, b)?, "{a}");
        }
        Ok(())
    }

    #[test]
    fn a_module_that_only_declares_and_re_exports_uses_nothing() -> Result<(), String> {
        let root = ("src/lib.rs", "mod codec;\npub use codec::Codec;");
        let kind = ("src/codec/kind.rs", "pub enum Codec {}");
        let zstd = ("src/codec/zstd.rs", "use super::Codec;\npub fn encode(_: Codec) {}");
        for declares in ["mod kind;\nmod zstd;\npub use kind::Codec;\npub use zstd::encode;", "mod kind;\npub mod zstd;\npub use kind::*;"]
        {
            assert_eq!(circles(&[root, ("src/codec/mod.rs", declares), kind, zstd])?, [""; 0], "{declares}");
        }
        // It has an item of its own, and uses one of a child.
        let both = "mod kind;\nmod zstd;\npub use kind::Codec;\npub struct Block;\nfn f() { zstd::encode() }";
        let zstd = ("src/codec/zstd.rs", "use super::{Block, Codec};\npub fn encode(_: Codec, _: Block) {}");
        assert_eq!(circles(&[root, ("src/codec/mod.rs", both), kind, zstd])?, ["codec -> codec::zstd -> codec"]);
        // It re-exports, and uses what it re-exports.
        let both = "mod kind;\nmod zstd;\npub use kind::Codec;\npub use zstd::encode;\npub struct Block(fn() -> encode);";
        assert_eq!(circles(&[root, ("src/codec/mod.rs", both), kind, zstd])?, ["codec -> codec::zstd -> codec"]);
        Ok(())
    }

    #[test]
    fn a_re_export_hides_no_circle() -> Result<(), String> {
        let root = ("src/lib.rs", "mod codec;");
        let declares = ("src/codec/mod.rs", "mod kind;\nmod zstd;\npub use kind::Codec;\npub use zstd::*;");
        let kind = ("src/codec/kind.rs", "use super::encode;\npub enum Codec {}");
        for zstd in ["use super::Codec;\npub fn encode(_: Codec) {}", "use crate::codec;\npub fn encode(_: codec::Codec) {}"] {
            let found = circles(&[root, declares, kind, ("src/codec/zstd.rs", zstd)])?;
            assert_eq!(found, ["codec::kind -> codec::zstd -> codec::kind"], "{zstd}");
        }
        Ok(())
    }

    #[test]
    fn modules_are_found_where_the_compiler_looks() -> Result<(), String> {
        let found = circles(&[
            ("src/main.rs", "mod a;\nmod inline { pub mod deep; }\n#[path = \"../other/shared.rs\"]\nmod shared;\nfn main() { a::f() }"),
            ("src/a.rs", "mod child;\npub use child::g;\npub fn f() {}"),
            ("src/a/child.rs", "pub fn g() { crate::inline::deep::h() }"),
            ("src/inline/deep.rs", "pub fn h() { crate::shared::i() }"),
            ("src/../other/shared.rs", "pub fn i() { crate::a::g() }"),
        ])?;
        assert_eq!(found, ["a::child -> inline::deep -> shared -> a::child"]);
        assert_eq!(circles(&[("src/lib.rs", "mod a;")]), Err("src/a.rs: missing, src/a/mod.rs: missing".to_owned()));
        Ok(())
    }

    #[test]
    fn members_are_those_of_the_manifest() {
        let manifest = "[workspace]\nresolver = \"3\"\nmembers = [\"cli\",\n    \"components/tools\"]\ndefault-members = [\"cli\"]\n";
        assert_eq!(members(manifest), Ok(vec!["cli".to_owned(), "components/tools".to_owned()]));
    }
}
