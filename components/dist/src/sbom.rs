//! Bills of materials: what a file that is published was built from, as SPDX 2.3 documents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use persist_recipe::component::{TARGET, printed, tool};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A package that is part of a file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    /// The ecosystem, as in a package URL: `cargo`, `npm` or `generic`.
    kind: &'static str,
    name: String,
    version: String,
    licence: String,
}

impl Part {
    fn id(&self) -> String {
        let name: String = self.name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        format!("SPDXRef-{}-{name}-{}", self.kind, self.version.replace('+', "-"))
    }

    fn document(&self) -> Value {
        json!({
            "SPDXID": self.id(),
            "name": self.name,
            "versionInfo": self.version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": self.licence,
            "licenseDeclared": self.licence,
            "copyrightText": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                // As the specification of package URLs wants the scope of an npm package.
                "referenceLocator": format!("pkg:{}/{}@{}", self.kind, self.name.replace('@', "%40"), self.version.replace('+', "%2B")),
            }],
        })
    }
}

/// What a file has to do with a part, in the order of what says most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// The file was made by it.
    Tool,
    /// The file needs it when it is built or used.
    Needed,
    /// It is in the file.
    Contained,
}

impl Role {
    /// Returns the relationship between a file and a part, as SPDX names it.
    fn relation(self, part: &str) -> Value {
        match self {
            Self::Tool => relation(part, "BUILD_TOOL_OF", FILE),
            Self::Needed => relation(FILE, "DEPENDS_ON", part),
            Self::Contained => relation(FILE, "CONTAINS", part),
        }
    }
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to})
}

/// The target of files that contain sources, for all targets.
const SOURCES: &str = "all";

/// What a file was built from.
#[derive(Debug, Default)]
pub(crate) struct Materials {
    parts: BTreeMap<Part, Role>,
    /// The parts that each part needs, by their IDs.
    needs: BTreeMap<String, BTreeSet<String>>,
}

impl Materials {
    /// Adds what `text` says: `cargo:TARGET:PACKAGE[,PACKAGE]` for packages that were compiled, or
    /// `cargo:all:…` for their sources; `npm:NAME@VERSION=LICENCE` for a package for Node that is
    /// needed, and `tool:NAME@VERSION=LICENCE` for one that has made the file.
    ///
    /// # Errors
    /// If it has another form, and what cargo says.
    pub(crate) fn add(&mut self, workspace: &Path, text: &str) -> Result<(), String> {
        match text.split(':').collect::<Vec<_>>()[..] {
            ["cargo", target, packages] => self.add_crates(workspace, target, packages),
            ["npm", package] => self.add_node_package(package, Role::Needed),
            ["tool", package] => self.add_node_package(package, Role::Tool),
            _ => Err(format!("'{text}' has another form than a part of a file")),
        }
    }

    /// Asks cargo for the packages that are linked into others, for a target. Macros and build
    /// scripts are no part of what they build.
    fn add_crates(&mut self, workspace: &Path, target: &str, packages: &str) -> Result<(), String> {
        let mut tree = Command::new(tool("CARGO", "cargo"));
        tree.current_dir(workspace).args(["tree", "--locked", "--quiet", "--edges", "normal,no-proc-macro", "--prefix", "depth"]);
        tree.args(["--format", "|{p}|{l}", "--target", target]);
        tree.args(packages.split(',').flat_map(|package| ["--package", package]));
        let tree = printed(&mut tree)?;
        if target == SOURCES {
            return self.read(&tree, Role::Needed);
        }
        self.read(&tree, Role::Contained)?;
        // What the compiler brings.
        let compiler = printed(Command::new(tool("RUSTC", "rustc")).arg("--version"))?;
        let version = compiler.split_whitespace().nth(1).ok_or_else(|| format!("rustc has the version '{compiler}'"))?;
        let mut library = |name: &str, version: String, licence: &str| {
            self.set(Part { kind: "generic", name: name.to_owned(), version, licence: licence.to_owned() }, Role::Contained);
        };
        library("rust-std", version.to_owned(), "MIT OR Apache-2.0");
        if target == TARGET {
            library("wasi-libc", format!("rust-{version}"), "(Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT) AND MIT");
        }
        Ok(())
    }

    /// Sets the role of a part, unless it already has one that says more.
    fn set(&mut self, part: Part, role: Role) {
        let known = self.parts.entry(part).or_insert(role);
        *known = role.max(*known);
    }

    /// Reads lines such as `2|serde v1.0.0 (/folder)|MIT (*)`: a package below the last one of depth 1.
    /// Those of depth 0 are contained; `others` is the role of the rest.
    fn read(&mut self, tree: &str, others: Role) -> Result<(), String> {
        let mut above = Vec::new();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let unknown = || format!("cargo tree printed a line of another form: {line}");
            let [depth, package, licence] = line.splitn(3, '|').collect::<Vec<_>>()[..] else { return Err(unknown()) };
            let depth: usize = depth.parse().map_err(|_| unknown())?;
            let (name, version) = package.split_once(" v").ok_or_else(unknown)?;
            let version = version.split_whitespace().next().unwrap_or(version);
            let licence = licence.trim_end_matches(" (*)").replace('/', " OR ");
            let licence = if licence.is_empty() { "NOASSERTION".to_owned() } else { licence };
            let part = Part { kind: "cargo", name: name.to_owned(), version: version.to_owned(), licence };
            above.truncate(depth);
            if let Some(user) = above.last() {
                self.needs.entry(String::clone(user)).or_default().insert(part.id());
            }
            above.push(part.id());
            self.set(part, if depth == 0 { Role::Contained } else { others });
        }
        Ok(())
    }

    /// Adds a package for Node, as `NAME@VERSION=LICENCE`.
    fn add_node_package(&mut self, text: &str, role: Role) -> Result<(), String> {
        let parsed = text.split_once('=').and_then(|(package, licence)| Some((package.rsplit_once('@')?, licence)));
        let ((name, version), licence) = parsed.ok_or_else(|| format!("'{text}' is not NAME@VERSION=LICENCE"))?;
        // Some packages put their expression in brackets.
        let licence = licence.trim_matches(['(', ')']).to_owned();
        self.set(Part { kind: "npm", name: name.to_owned(), version: version.to_owned(), licence }, role);
        Ok(())
    }

    /// Returns the document about a file that has the parts. `digest` is its SHA-256.
    ///
    /// # Errors
    /// If the clock has no date.
    pub(crate) fn document(&self, file: &str, digest: &str) -> Result<Value, String> {
        let version = env!("CARGO_PKG_VERSION");
        let created = OffsetDateTime::now_utc().replace_nanosecond(0).map_err(|error| error.to_string())?;
        let created = created.format(&Rfc3339).map_err(|error| error.to_string())?;
        let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", FILE)];
        relations.extend(self.parts.iter().map(|(part, role)| role.relation(&part.id())));
        for (user, needed) in &self.needs {
            relations.extend(needed.iter().map(|needed| relation(user, "DEPENDS_ON", needed)));
        }
        let mut packages = vec![json!({
            "SPDXID": FILE,
            "name": file,
            "packageFileName": file,
            "versionInfo": version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": env!("CARGO_PKG_LICENSE"),
            "licenseDeclared": env!("CARGO_PKG_LICENSE"),
            "copyrightText": "NOASSERTION",
            "checksums": [{"algorithm": "SHA256", "checksumValue": digest}],
        })];
        packages.extend(self.parts.keys().map(Part::document));
        Ok(json!({
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": file,
            "documentNamespace": format!("{}/spdx/{file}-{digest}", env!("CARGO_PKG_REPOSITORY")),
            "creationInfo": {"created": created, "creators": [format!("Tool: persist-dist-{version}")]},
            "packages": packages,
            "relationships": relations,
        }))
    }
}

/// The ID of the file in its document.
const FILE: &str = "SPDXRef-File";

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str =
        "0|top v1.0.0 (/folder/top)|MIT\n1|a-b v2.0.0+x|MIT/Apache-2.0\n2|c v3.0.0|\n1|c v3.0.0| (*)\n\n0|other v1.0.0|MIT\n";

    fn read(others: Role) -> Materials {
        let mut materials = Materials::default();
        assert_eq!(materials.read(TREE, others), Ok(()));
        materials
    }

    #[test]
    fn a_tree_is_read() {
        let materials = read(Role::Needed);
        let parts: Vec<_> = materials.parts.iter().map(|(part, role)| (part.id(), part.licence.as_str(), *role)).collect();
        let expected = [
            ("SPDXRef-cargo-a-b-2.0.0-x", "MIT OR Apache-2.0", Role::Needed),
            ("SPDXRef-cargo-c-3.0.0", "NOASSERTION", Role::Needed),
            ("SPDXRef-cargo-other-1.0.0", "MIT", Role::Contained),
            ("SPDXRef-cargo-top-1.0.0", "MIT", Role::Contained),
        ];
        assert_eq!(parts, expected.map(|(id, licence, role)| (id.to_owned(), licence, role)));
        let needs: Vec<_> = materials.needs.iter().map(|(user, needed)| (user.as_str(), needed.len())).collect();
        assert_eq!(needs, [("SPDXRef-cargo-a-b-2.0.0-x", 1), ("SPDXRef-cargo-top-1.0.0", 2)]);
    }

    #[test]
    fn a_document_names_each_part_once() {
        let mut materials = read(Role::Needed);
        assert_eq!(materials.read(TREE, Role::Contained), Ok(()));
        assert_eq!(materials.add(Path::new("."), "npm:@scope/name@1.2.3=(MIT)"), Ok(()));
        assert_eq!(materials.add(Path::new("."), "tool:maker@1.0.0=MIT"), Ok(()));
        assert!(materials.add(Path::new("."), "npm:name").is_err() && materials.add(Path::new("."), "name").is_err());
        let document = materials.document("file.wasm", "00").unwrap_or_default();
        let packages = document.get("packages").and_then(Value::as_array).map(Vec::len);
        assert_eq!(packages, Some(7));
        let text = document.to_string();
        assert!(text.contains("pkg:npm/%40scope/name@1.2.3") && text.contains("pkg:cargo/a-b@2.0.0%2Bx"), "{text}");
        let relations = document.get("relationships").cloned().unwrap_or_default();
        let has = |from: &str, kind: &str, to: &str| relations.as_array().is_some_and(|all| all.contains(&relation(from, kind, to)));
        assert!(has(FILE, "CONTAINS", "SPDXRef-cargo-c-3.0.0"));
        assert!(has(FILE, "DEPENDS_ON", "SPDXRef-npm--scope-name-1.2.3"));
        assert!(has("SPDXRef-npm-maker-1.0.0", "BUILD_TOOL_OF", FILE));
    }

    #[test]
    fn a_component_has_the_libraries_of_the_compiler() {
        let mut materials = Materials::default();
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        assert_eq!(materials.add(&workspace, &format!("cargo:{TARGET}:persist-guest")), Ok(()));
        for (name, role) in [("rust-std", Role::Contained), ("wasi-libc", Role::Contained), ("zrip", Role::Contained)] {
            assert_eq!(materials.parts.iter().find(|(part, _)| part.name == name).map(|(_, role)| *role), Some(role), "{name}");
        }
    }
}
