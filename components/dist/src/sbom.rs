//! Bills of materials: what a file that is published was built from, as SPDX 2.3 documents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use persist_recipe::component::{printed, tool};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A package that is part of a file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    /// The ecosystem, as in a package URL: `cargo` or `npm`.
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

/// What a file was built from.
#[derive(Debug, Default)]
pub(crate) struct Materials {
    parts: BTreeSet<Part>,
    /// The parts that each part needs, by their IDs.
    needs: BTreeMap<String, BTreeSet<String>>,
}

impl Materials {
    /// Asks cargo for the packages that are linked into others, for a target. Macros and build
    /// scripts are no part of what they build.
    ///
    /// # Errors
    /// What cargo says.
    pub(crate) fn of(workspace: &Path, packages: &[&str], target: &str) -> Result<Self, String> {
        let mut tree = Command::new(tool("CARGO", "cargo"));
        tree.current_dir(workspace).args(["tree", "--locked", "--quiet", "--edges", "normal,no-proc-macro", "--prefix", "depth"]);
        tree.args(["--format", "|{p}|{l}", "--target", target]);
        tree.args(packages.iter().flat_map(|package| ["--package", package]));
        Self::read(&printed(&mut tree)?)
    }

    /// Reads lines such as `2|serde v1.0.0 (/folder)|MIT (*)`: a package below the last one of depth 1.
    fn read(tree: &str) -> Result<Self, String> {
        let (mut materials, mut above): (Self, Vec<String>) = Default::default();
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
                materials.needs.entry(user.clone()).or_default().insert(part.id());
            }
            above.push(part.id());
            materials.parts.insert(part);
        }
        Ok(materials)
    }

    /// Adds a package for Node, as `NAME@VERSION=LICENCE`.
    ///
    /// # Errors
    /// If it has another form.
    pub(crate) fn add_node_package(&mut self, text: &str) -> Result<(), String> {
        let parsed = text.split_once('=').and_then(|(package, licence)| Some((package.rsplit_once('@')?, licence)));
        let ((name, version), licence) = parsed.ok_or_else(|| format!("'{text}' is not NAME@VERSION=LICENCE"))?;
        // Some packages put their expression in brackets.
        let licence = licence.trim_matches(['(', ')']).to_owned();
        self.parts.insert(Part { kind: "npm", name: name.to_owned(), version: version.to_owned(), licence });
        Ok(())
    }

    /// Returns the document about a file that contains the parts. `digest` is its SHA-256.
    ///
    /// # Errors
    /// If the clock has no date.
    pub(crate) fn document(&self, file: &str, digest: &str) -> Result<Value, String> {
        let version = env!("CARGO_PKG_VERSION");
        let created = OffsetDateTime::now_utc().replace_nanosecond(0).map_err(|error| error.to_string())?;
        let created = created.format(&Rfc3339).map_err(|error| error.to_string())?;
        let relation =
            |from: &str, kind: &str, to: &str| json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to});
        let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", FILE)];
        relations.extend(self.parts.iter().map(|part| relation(FILE, "CONTAINS", &part.id())));
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
        packages.extend(self.parts.iter().map(Part::document));
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

    #[test]
    fn a_tree_is_read() {
        let materials = Materials::read(TREE).unwrap_or_default();
        let parts: Vec<_> = materials.parts.iter().map(|part| (part.id(), part.licence.as_str())).collect();
        let expected = [
            ("SPDXRef-cargo-a-b-2.0.0-x", "MIT OR Apache-2.0"),
            ("SPDXRef-cargo-c-3.0.0", "NOASSERTION"),
            ("SPDXRef-cargo-other-1.0.0", "MIT"),
            ("SPDXRef-cargo-top-1.0.0", "MIT"),
        ];
        assert_eq!(parts, expected.map(|(id, licence)| (id.to_owned(), licence)));
        let needs: Vec<_> = materials.needs.iter().map(|(user, needed)| (user.as_str(), needed.len())).collect();
        assert_eq!(needs, [("SPDXRef-cargo-a-b-2.0.0-x", 1), ("SPDXRef-cargo-top-1.0.0", 2)]);
    }

    #[test]
    fn a_document_names_each_part_once() {
        let mut materials = Materials::read(TREE).unwrap_or_default();
        assert_eq!(materials.add_node_package("@scope/name@1.2.3=(MIT)"), Ok(()));
        assert!(materials.add_node_package("name").is_err());
        let document = materials.document("file.wasm", "00").unwrap_or_default();
        let packages = document.get("packages").and_then(Value::as_array).map(Vec::len);
        assert_eq!(packages, Some(6));
        let text = document.to_string();
        assert!(text.contains("pkg:npm/%40scope/name@1.2.3") && text.contains("pkg:cargo/a-b@2.0.0%2Bx"), "{text}");
    }
}
