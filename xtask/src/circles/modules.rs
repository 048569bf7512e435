//! The modules of a crate, and what the paths in them name.

use std::path::{Path, PathBuf};

use super::code::{Binding, Child, Code, parse};
use super::tokens::tokens;

/// The most re-exports that a name is followed through.
const MAX_STEPS: u32 = 16;

/// A module, inline or with a file of its own.
pub(super) struct Module {
    /// Which of [`Crate::files`] it is in.
    pub(super) file: usize,
    pub(super) code: Code,
    parent: Option<usize>,
    children: Vec<(String, usize)>,
}

/// The modules and files of a crate, its root first.
pub(super) struct Crate {
    pub(super) modules: Vec<Module>,
    /// The path of each file's module, or for the root the name of its file.
    pub(super) files: Vec<String>,
}

/// What a path names, by number.
#[derive(Clone, Copy)]
enum Named {
    Module(usize),
    /// An item of this module.
    Item(usize),
}

impl Named {
    fn module(self) -> usize {
        match self {
            Self::Module(module) | Self::Item(module) => module,
        }
    }
}

/// Where the files of a module's children are.
struct Folders {
    /// For children whose file has their name.
    children: PathBuf,
    /// For children with the attribute `path`.
    named: PathBuf,
}

/// Reads a source file.
pub(super) type Read<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

impl Crate {
    /// Reads the crate that begins with this file.
    pub(super) fn load(root: &Path, read: Read<'_>) -> Result<Self, String> {
        let name = root.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut loaded = Self { modules: Vec::new(), files: vec![name] };
        let folder = root.parent().unwrap_or(Path::new(""));
        let folders = Folders { children: folder.to_owned(), named: folder.to_owned() };
        loaded.add(parse(&tokens(&read(root)?)), None, 0, "", &folders, read)?;
        Ok(loaded)
    }

    /// Adds a module and its children. Returns its number.
    fn add(
        &mut self,
        mut code: Code,
        parent: Option<usize>,
        file: usize,
        path: &str,
        folders: &Folders,
        read: Read<'_>,
    ) -> Result<usize, String> {
        let number = self.modules.len();
        let declared = std::mem::take(&mut code.children);
        self.modules.push(Module { file, code, parent, children: Vec::new() });
        let mut children = Vec::new();
        for Child { name, path: attribute, code } in declared {
            let path = if path.is_empty() { name.clone() } else { format!("{path}::{name}") };
            let below = folders.children.join(&name);
            let child = if let Some(code) = code {
                let folders = Folders { children: below.clone(), named: below };
                self.add(code, Some(number), file, &path, &folders, read)?
            } else {
                let (source, folders) = match attribute {
                    Some(attribute) => {
                        let source = folders.named.join(attribute);
                        let folder = source.parent().unwrap_or(Path::new("")).to_owned();
                        (source, Folders { children: folder.clone(), named: folder })
                    }
                    None => {
                        (folders.children.join(format!("{name}.rs")), Folders { children: below.clone(), named: folders.children.clone() })
                    }
                };
                // The file has the name of the module, or is mod.rs in a folder of that name.
                let (text, folders) = match read(&source) {
                    Ok(text) => (text, folders),
                    Err(error) => {
                        let in_folder = read(&below.join("mod.rs")).map_err(|other| format!("{error}, {other}"))?;
                        (in_folder, Folders { children: below.clone(), named: below })
                    }
                };
                self.files.push(path.clone());
                self.add(parse(&tokens(&text)), Some(number), self.files.len() - 1, &path, &folders, read)?
            };
            children.push((name, child));
        }
        if let Some(module) = self.modules.get_mut(number) {
            module.children = children;
        }
        Ok(number)
    }

    /// Returns the module that a path in another module names, or that defines the item
    /// which it names; `None` if that is not in the crate.
    pub(super) fn resolve(&self, from: usize, path: &[String]) -> Option<usize> {
        self.named(from, path, MAX_STEPS).map(Named::module)
    }

    /// Whether a module is below another one.
    pub(super) fn is_below(&self, module: usize, above: usize) -> bool {
        let parent = |module: &usize| self.modules.get(*module).and_then(|module| module.parent);
        std::iter::successors(parent(&module), parent).any(|found| found == above)
    }

    fn named(&self, from: usize, path: &[String], steps: u32) -> Option<Named> {
        let (first, mut rest) = path.split_first()?;
        let mut found = match first.as_str() {
            "crate" => Named::Module(0),
            "self" => Named::Module(from),
            "super" => Named::Module(self.modules.get(from)?.parent?),
            name => self.lookup(from, name, steps)?,
        };
        while let ([name, behind @ ..], Named::Module(module)) = (rest, found) {
            found = match name.as_str() {
                "super" => Named::Module(self.modules.get(module)?.parent?),
                name => self.lookup(module, name, steps).unwrap_or(Named::Item(module)),
            };
            rest = behind;
        }
        Some(found)
    }

    /// Returns what a name means in a module.
    fn lookup(&self, module: usize, name: &str, steps: u32) -> Option<Named> {
        let steps = steps.checked_sub(1)?;
        let Module { code, children, .. } = self.modules.get(module)?;
        if let Some((_, child)) = children.iter().find(|(child, _)| child == name) {
            return Some(Named::Module(*child));
        }
        let is_here = |binding: &&Binding| binding.name.as_deref() == Some(name);
        let explicit = code.bindings.iter().filter(is_here).find_map(|binding| self.named(module, &binding.path, steps));
        if explicit.is_some() {
            return explicit;
        }
        if code.items.contains(name) {
            return Some(Named::Item(module));
        }
        code.bindings.iter().filter(|binding| binding.name.is_none()).find_map(|glob| match self.named(module, &glob.path, steps)? {
            Named::Module(whole) if whole != module => self.lookup(whole, name, steps),
            _ => None,
        })
    }
}
