//! A copy of the sources from which packages are made. It has the component as a file, which the
//! sources themselves must not have: a build there would embed it even after its sources changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use persist_recipe::component::printed;

use crate::shell::{run, target_dir, workspace};

/// The copy.
pub(crate) struct Staging {
    pub(crate) root: PathBuf,
}

impl Staging {
    /// Copies all files that git knows or would add, and the component.
    pub(crate) fn prepare(component: &Path) -> Result<Self, String> {
        let root = target_dir()?.join("staging");
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| format!("{path}: {error}")
        };
        if root.exists() {
            fs::remove_dir_all(&root).map_err(failed(&root))?;
        }
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
        // The copy may be in a folder that another repository ignores, and cargo would leave out
        // its files.
        run(Command::new("git").args(["init", "--quiet"]).arg(&root))?;
        Ok(Self { root })
    }
}
