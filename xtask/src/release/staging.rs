//! A copy of the sources from which packages are made. It has the component as a file, which the
//! sources themselves must not have: a build there would embed it even after its sources changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use persist_recipe::component::printed;

use super::folders::fresh;
use crate::shell::{run, target_dir, workspace};

/// The copy. It is removed with this value: Cargo takes what it compiled there for what it would compile
/// in the workspace, as long as these files are there and do not change.
pub(crate) struct Staging {
    pub(crate) root: PathBuf,
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Removes what a run that was interrupted has left of this copy, and of the one that tests unpack.
pub(crate) fn remove_left() -> Result<(), String> {
    for name in ["staging", "sdist"] {
        let left = target_dir()?.join(name);
        if left.exists() {
            fs::remove_dir_all(&left).map_err(|error| format!("{}: {error}", left.display()))?;
        }
    }
    Ok(())
}

impl Staging {
    /// Copies all files that git knows or would add, and the component.
    pub(crate) fn prepare(component: &Path) -> Result<Self, String> {
        let root = target_dir()?.join("staging");
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| format!("{path}: {error}")
        };
        fresh(&root)?;
        let mut list = Command::new("git");
        list.current_dir(workspace()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        for name in printed(&mut list)?.split('\0').filter(|name| !name.is_empty()) {
            let (from, to) = (workspace().join(name), root.join(name));
            let Ok(kind) = from.symlink_metadata() else { continue };
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).map_err(failed(folder))?;
            }
            if kind.is_symlink() {
                let target = fs::read_link(&from).map_err(failed(&from))?;
                std::os::unix::fs::symlink(target, &to).map_err(failed(&to))?;
            } else {
                fs::copy(&from, &to).map_err(failed(&from))?;
            }
        }
        let shipped = root.join("host/component");
        fs::create_dir_all(&shipped).map_err(failed(&shipped))?;
        fs::copy(component, shipped.join("persist.wasm")).map_err(failed(component))?;
        publish_readme(&root.join("python-host/README.md"))?;
        // The copy may be in a folder that another repository ignores, and cargo would leave out
        // its files.
        run(Command::new("git").args(["init", "--quiet"]).arg(&root))?;
        Ok(Self { root })
    }
}

/// How the package for Python is installed from a clone, up to the next heading or example.
const FROM_CLONE: (&str, &str) = ("```bash\nrustup target add", "```python\n");

/// How it is installed once it is published.
const PUBLISHED: &str = "```bash\npip install agent-persist\n```\n\n\
    It runs on Linux and macOS with Python 3.10 or newer, and needs no other package. There are wheels for\n\
    Linux. Elsewhere, pip compiles it, which takes a few minutes, Rust 1.95 or newer and a C compiler.\n\n";

/// Replaces what a README says about installing from a clone.
fn publish_readme(path: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(failed)?;
    let published = published(&text).ok_or_else(|| format!("{} does not say how to install from a clone", path.display()))?;
    fs::write(path, published).map_err(failed)
}

fn published(readme: &str) -> Option<String> {
    let (before, rest) = readme.split_once(FROM_CLONE.0)?;
    let (_, after) = rest.split_once(FROM_CLONE.1)?;
    Some(format!("{before}{PUBLISHED}{}{after}", FROM_CLONE.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_readme_installs_the_published_package() -> Result<(), String> {
        let readme = fs::read_to_string(workspace().join("python-host/README.md")).map_err(|error| error.to_string())?;
        let published = published(&readme).ok_or("the README does not say how to install from a clone")?;
        assert!(published.contains("pip install agent-persist") && published.contains("import persist"), "{published}");
        assert!(!published.contains("clone") && !published.contains("rustup"), "{published}");
        Ok(())
    }
}
