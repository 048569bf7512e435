//! The version that is released: the same in all packages, with a section in the change log.

use std::fs;

use crate::shell::workspace;

/// Returns the version of the workspace.
///
/// # Errors
/// If a published package has another, or the change log has no section for it.
pub(crate) fn check() -> Result<String, String> {
    let read = |name: &str| fs::read_to_string(workspace().join(name)).map_err(|error| format!("{name}: {error}"));
    let manifest = read("Cargo.toml")?;
    let version = of_workspace(&manifest).ok_or("Cargo.toml: [workspace.package] has no version")?;
    if let Some(other) = of_dependencies(&manifest).find(|(_, required)| *required != version) {
        return Err(format!("Cargo.toml: {} is required as {}, and is {version}", other.0, other.1));
    }
    let heading = format!("## {version}");
    if !read("CHANGELOG.md")?.lines().any(|line| line == heading || line.starts_with(&format!("{heading},"))) {
        return Err(format!("CHANGELOG.md has no section '{heading}': describe the changes there"));
    }
    Ok(version.to_owned())
}

fn of_workspace(manifest: &str) -> Option<&str> {
    let (_, package) = manifest.split_once("[workspace.package]")?;
    quoted(package.lines().find(|line| line.starts_with("version = "))?)
}

/// Returns the packages of the workspace that are published, each with the version that others
/// require.
fn of_dependencies(manifest: &str) -> impl Iterator<Item = (&str, &str)> {
    let (_, dependencies) = manifest.split_once("[workspace.dependencies]\n").unwrap_or_default();
    let lines = dependencies.lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| {
        let (name, rest) = line.split_once(" = ")?;
        Some((name, quoted(rest.split_once("version = ")?.1)?))
    })
}

fn quoted(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[workspace.package]\nversion = \"1.2.3\"\n\n[workspace.dependencies]\n\
                            a = { path = \"a\", version = \"1.2.3\" }\nb = { path = \"b\", version = \"1.2.2\", default-features = false }\n\n[x]\n";

    #[test]
    fn versions_are_found() {
        assert_eq!(of_workspace(MANIFEST), Some("1.2.3"));
        assert_eq!(of_dependencies(MANIFEST).collect::<Vec<_>>(), [("a", "1.2.3"), ("b", "1.2.2")]);
    }

    #[test]
    fn the_workspace_can_be_released() {
        assert!(check().is_ok(), "{:?}", check());
    }
}
