//! The component, compiled when this library was built: for each kind of processor
//! an image, linked into the program.
//!
//! On Linux an image stands in an executable section and is run where it is.
//! Nothing is copied, and no memory is made executable, so that it also works
//! where the system forbids that. Elsewhere, and where the image is in use
//! already, it is copied.

use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::component::Component;
use wasmtime::{Config, Engine, Result};

/// Compiled code of the component.
pub(crate) struct Image {
    bytes: fn() -> &'static [u8],
    /// Whether code is run where the image is: wasmtime takes it once at a time.
    is_in_use: AtomicBool,
}

/// An image that is run where it is; others copy it until this is dropped.
pub(crate) struct InPlace(&'static Image);

impl Drop for InPlace {
    fn drop(&mut self) {
        self.0.is_in_use.store(false, Ordering::Release);
    }
}

impl Image {
    /// The best image for this processor whose instances have 4 GiB of addresses.
    pub(crate) fn with_many_addresses() -> &'static Self {
        #[cfg(feature = "x86-64-v3")]
        if linked::is_x86_64_v3() {
            return &linked::X86_64_V3;
        }
        &linked::BASELINE
    }

    /// The one for where there are few, if it is there.
    pub(crate) fn with_few_addresses() -> Option<&'static Self> {
        #[cfg(feature = "few-addresses")]
        return Some(&linked::FEW_ADDRESSES);
        #[cfg(not(feature = "few-addresses"))]
        None
    }

    /// Makes an engine of these settings and loads the image into it.
    ///
    /// # Errors
    /// Where the engine can't be made; where the processor has not what the code
    /// needs.
    pub(crate) fn load(&'static self, mut config: Config) -> Result<(Engine, Component, Option<InPlace>)> {
        let in_place = self.take();
        #[cfg(target_os = "linux")]
        if in_place.is_some() {
            config.with_custom_code_memory(Some(std::sync::Arc::new(in_place::Linked)));
        }
        let engine = Engine::new(&config)?;
        let bytes = (self.bytes)();
        let component = match &in_place {
            // SAFETY: the bytes are what `Engine::precompile_component` gave when
            // this library was built, and a part of the program. They are never
            // written, and stay as long as this code does, which uses them. That
            // wasmtime, settings and this machine's processor fit is checked by
            // wasmtime itself.
            Some(_) => unsafe { Component::deserialize_raw(&engine, bytes.into()) }?,
            // SAFETY: as above; they are copied.
            None => unsafe { Component::deserialize(&engine, bytes) }?,
        };
        Ok((engine, component, in_place))
    }

    #[cfg(target_os = "linux")]
    fn take(&'static self) -> Option<InPlace> {
        let is_free = !self.is_in_use.swap(true, Ordering::AcqRel);
        is_free.then(|| InPlace(self))
    }

    #[cfg(not(target_os = "linux"))]
    fn take(&'static self) -> Option<InPlace> {
        None
    }
}

#[cfg(target_os = "linux")]
mod in_place {
    use wasmtime::{CustomCodeMemory, Result, bail};

    use super::linked;

    /// Code that the system's loader has made executable, with the program.
    pub(super) struct Linked;

    impl CustomCodeMemory for Linked {
        /// That of the constants among the code. The images have more.
        fn required_alignment(&self) -> usize {
            64
        }

        fn publish_executable(&self, code: *const u8, length: usize) -> Result<()> {
            let is_inside = |image: &&super::Image| {
                let image = (image.bytes)().as_ptr_range();
                image.contains(&code) && code.wrapping_add(length) <= image.end
            };
            match linked::ALL.iter().any(is_inside) {
                true => Ok(()),
                false => bail!("this code is not part of the program"),
            }
        }

        fn unpublish_executable(&self, _: *const u8, _: usize) -> Result<()> {
            Ok(())
        }
    }
}

/// The images, by what they are called in the build script.
mod linked {
    use super::{AtomicBool, Image};

    /// Links an image into an executable section, at a boundary of pages.
    #[cfg(target_os = "linux")]
    macro_rules! image {
        ($name:ident, $file:literal) => {
            core::arch::global_asm!(
                concat!(".pushsection .text.persist_image_", stringify!($name), ", \"ax\""),
                // The largest pages that there are on the processors with images.
                ".balign 65536",
                concat!(".globl persist_image_", stringify!($name)),
                concat!(".hidden persist_image_", stringify!($name)),
                concat!("persist_image_", stringify!($name), ":"),
                concat!(".incbin \"", env!("OUT_DIR"), "/", $file, "\""),
                concat!(".globl persist_image_end_", stringify!($name)),
                concat!(".hidden persist_image_end_", stringify!($name)),
                concat!("persist_image_end_", stringify!($name), ":"),
                ".popsection",
                options(raw)
            );
            pub(super) static $name: Image = {
                unsafe extern "C" {
                    #[link_name = concat!("persist_image_", stringify!($name))]
                    static START: u8;
                    #[link_name = concat!("persist_image_end_", stringify!($name))]
                    static END: u8;
                }
                fn bytes() -> &'static [u8] {
                    let start = &raw const START;
                    // SAFETY: the two are labels before and behind the bytes of one
                    // file, in a section that nobody can write, and END comes
                    // second. Bytes may hold anything.
                    unsafe { std::slice::from_raw_parts(start, (&raw const END).offset_from_unsigned(start)) }
                }
                Image { bytes, is_in_use: AtomicBool::new(false) }
            };
        };
    }

    #[cfg(not(target_os = "linux"))]
    macro_rules! image {
        ($name:ident, $file:literal) => {
            pub(super) static $name: Image =
                Image { bytes: || include_bytes!(concat!(env!("OUT_DIR"), "/", $file)), is_in_use: AtomicBool::new(false) };
        };
    }

    image!(BASELINE, "baseline.cwasm");
    #[cfg(feature = "few-addresses")]
    image!(FEW_ADDRESSES, "few-addresses.cwasm");
    #[cfg(all(feature = "x86-64-v3", target_arch = "x86_64"))]
    image!(X86_64_V3, "x86-64-v3.cwasm");

    #[cfg(target_os = "linux")]
    pub(super) static ALL: &[&Image] = &[
        &BASELINE,
        #[cfg(feature = "few-addresses")]
        &FEW_ADDRESSES,
        #[cfg(all(feature = "x86-64-v3", target_arch = "x86_64"))]
        &X86_64_V3,
    ];

    /// Whether this processor has what x86-64-v3 adds and compiled code may use.
    #[cfg(all(feature = "x86-64-v3", target_arch = "x86_64"))]
    pub(super) fn is_x86_64_v3() -> bool {
        macro_rules! has {
            ($($feature:tt)*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
        }
        has!("avx" "avx2" "bmi1" "bmi2" "fma" "lzcnt" "popcnt")
    }
}
