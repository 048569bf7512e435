//! What a component says about itself: version, licence and source, in the sections that tools
//! and OCI registries read.

use wasm_metadata::{AddMetadata, AddMetadataField, Description, Licenses, Source, Version};

/// Returns the component with its description.
///
/// # Errors
/// If it is not a component.
pub(crate) fn describe(wasm: &[u8], description: &'static str) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{description}: {error:#}");
    let mut metadata = AddMetadata::default();
    metadata.description = AddMetadataField::Set(Description::new(description));
    metadata.licenses = AddMetadataField::Set(Licenses::new(env!("CARGO_PKG_LICENSE")).map_err(|error| failed(&error))?);
    metadata.source = AddMetadataField::Set(Source::new(env!("CARGO_PKG_REPOSITORY")).map_err(|error| failed(&error))?);
    metadata.version = AddMetadataField::Set(Version::new(env!("CARGO_PKG_VERSION")));
    metadata.to_wasm(wasm).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use persist_recipe::component::with_description;
    use wasm_metadata::Payload;

    use super::*;

    /// A component with nothing in it.
    const EMPTY: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];

    fn check(described: &[u8], description: &str) {
        let metadata = match Payload::from_binary(described) {
            Ok(Payload::Component { metadata, .. }) => metadata,
            _ => Default::default(),
        };
        let text = [
            metadata.description.map(|field| field.to_string()),
            metadata.licenses.map(|field| field.to_string()),
            metadata.source.map(|field| field.to_string()),
            metadata.version.map(|field| field.to_string()),
        ];
        let expected = [description, "MIT OR Apache-2.0", "https://github.com/agent-persist/persist", env!("CARGO_PKG_VERSION")];
        assert_eq!(text, expected.map(|field| Some(field.to_owned())));
    }

    #[test]
    fn a_description_can_be_read() {
        check(&describe(&EMPTY, "A component").unwrap_or_default(), "A component");
    }

    #[test]
    fn the_component_has_one_when_it_is_built() {
        check(&with_description(EMPTY.to_vec()), "Snapshots and timelines of the states of agents");
    }
}
