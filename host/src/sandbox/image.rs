//! The built-in component, compiled when this library was built: one image for each
//! kind of processor, linked into the program. Without the feature `precompiled`, a build
//! may have none.
//!
//! On Linux, an image is in an executable section and runs in place. In a forked child
//! in which wasmtime already uses it, it runs from a memory file instead. Writable
//! memory is never made executable, so this also works where the system forbids that.
//! On other systems, the image is copied.

use std::sync::atomic::{AtomicU32, Ordering};

use wasmtime::component::Component;
use wasmtime::{Config, Engine, Result};

/// The compiled code of the component.
#[cfg_attr(not(persist_image), allow(dead_code, reason = "the component is compiled at run time"))]
pub(crate) struct Image {
    bytes: fn() -> &'static [u8],
    /// The process that runs the image in place; 0 if none does. wasmtime accepts it
    /// only once at a time.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "the image is copied there"))]
    user: AtomicU32,
}

/// Code that runs outside wasmtime's own copy. It stays in place until this is dropped.
pub(crate) enum InPlace {
    /// In the program. While this exists, others run from a memory file.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "the image is copied there"))]
    Program(&'static Image),
    #[cfg(target_os = "linux")]
    #[allow(dead_code, reason = "held until it is dropped")]
    Mapped(in_place::Mapped),
}

impl Drop for InPlace {
    fn drop(&mut self) {
        if let Self::Program(image) = self {
            image.user.store(0, Ordering::Release);
        }
    }
}

impl Image {
    /// Returns the best image for this processor with 4 GiB of addresses for each
    /// instance, if this build has one.
    pub(crate) fn with_many_addresses() -> Option<&'static Self> {
        #[cfg(all(persist_image, feature = "x86-64-v3", target_arch = "x86_64"))]
        if linked::is_x86_64_v3() {
            return Some(&linked::X86_64_V3);
        }
        #[cfg(persist_image)]
        return Some(&linked::BASELINE);
        #[cfg(not(persist_image))]
        None
    }

    /// Returns the image for few addresses, if this build has one.
    pub(crate) fn with_few_addresses() -> Option<&'static Self> {
        #[cfg(all(persist_image, feature = "few-addresses"))]
        return Some(&linked::FEW_ADDRESSES);
        #[cfg(not(all(persist_image, feature = "few-addresses")))]
        None
    }

    /// Makes an engine with these settings and loads the image into it.
    ///
    /// # Errors
    /// If the engine can't be made, or the processor lacks what the code needs.
    pub(crate) fn load(&'static self, mut config: Config) -> Result<(Engine, Component, Option<InPlace>)> {
        #[cfg(target_os = "linux")]
        if let Some((in_place, bytes)) = self.in_place() {
            config.with_custom_code_memory(Some(std::sync::Arc::new(in_place::Executable(bytes))));
            let engine = Engine::new(&config)?;
            // SAFETY: the bytes are what `Engine::precompile_component` returned when
            // this library was built. They are never written, and stay valid as long as
            // `in_place`, which is dropped after everything that uses them. wasmtime
            // itself checks that its version, the settings and the processor match.
            let component = unsafe { Component::deserialize_raw(&engine, bytes.into()) }?;
            return Ok((engine, component, Some(in_place)));
        }
        let engine = Engine::new(&config)?;
        // SAFETY: as above, and the bytes are copied.
        let component = unsafe { Component::deserialize(&engine, (self.bytes)()) }?;
        Ok((engine, component, None))
    }

    /// Returns where the image can run, and its bytes there.
    #[cfg(target_os = "linux")]
    fn in_place(&'static self) -> Option<(InPlace, &'static [u8])> {
        if let Some(taken) = self.take() {
            return Some((taken, (self.bytes)()));
        }
        match in_place::Mapped::new((self.bytes)()) {
            Ok(mapped) => {
                let bytes = mapped.bytes();
                Some((InPlace::Mapped(mapped), bytes))
            }
            Err(error) => {
                tracing::debug!(%error, "code can't run from a memory file, so it is copied");
                None
            }
        }
    }

    /// Claims the image in the program, unless it is in use.
    #[cfg(target_os = "linux")]
    fn take(&'static self) -> Option<InPlace> {
        let this = std::process::id();
        let began = std::time::Instant::now();
        loop {
            match self.user.compare_exchange(0, this, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(InPlace::Program(self)),
                // Another thread may be dropping the last engine right now.
                Err(user) if user == this && began.elapsed() < in_place::PATIENCE => std::thread::yield_now(),
                Err(_) => return None,
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod in_place {
    use std::fs::File;
    use std::io::{self, Write as _};
    use std::time::Duration;

    use rustix::fs::{MemfdFlags, memfd_create};
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
    use wasmtime::{CustomCodeMemory, Result, bail};

    /// How long to wait for the image in the program: many times what dropping an
    /// engine takes.
    pub(super) const PATIENCE: Duration = Duration::from_millis(100);

    /// Bytes in a memory file, mapped to be read and executed.
    pub(crate) struct Mapped {
        address: usize,
        length: usize,
    }

    impl Mapped {
        pub(super) fn new(bytes: &[u8]) -> io::Result<Self> {
            let mut file = File::from(memfd_create("persist", MemfdFlags::CLOEXEC)?);
            file.write_all(bytes)?;
            let (protection, flags) = (ProtFlags::READ | ProtFlags::EXEC, MapFlags::PRIVATE);
            // SAFETY: the kernel chooses a new address, so nothing is mapped over. The
            // file is private and closed below, so nothing writes to it.
            let start = unsafe { mmap(std::ptr::null_mut(), bytes.len(), protection, flags, &file, 0) }?;
            Ok(Self { address: start.expose_provenance(), length: bytes.len() })
        }

        /// The caller must not use them after this is dropped.
        pub(super) fn bytes(&self) -> &'static [u8] {
            // SAFETY: this many bytes are mapped at this address, and nothing writes to
            // them.
            unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(self.address), self.length) }
        }
    }

    impl Drop for Mapped {
        fn drop(&mut self) {
            // SAFETY: it was mapped above, and everything that used it was dropped.
            let _ = unsafe { munmap(std::ptr::with_exposed_provenance_mut(self.address), self.length) };
        }
    }

    /// Code that is already executable.
    pub(super) struct Executable(pub(super) &'static [u8]);

    impl CustomCodeMemory for Executable {
        /// The alignment of the constants in the code. The images have a larger one.
        fn required_alignment(&self) -> usize {
            64
        }

        fn publish_executable(&self, code: *const u8, length: usize) -> Result<()> {
            let all = self.0.as_ptr_range();
            match all.contains(&code) && code.wrapping_add(length) <= all.end {
                true => Ok(()),
                false => bail!("this code is not part of the program"),
            }
        }

        fn unpublish_executable(&self, _: *const u8, _: usize) -> Result<()> {
            Ok(())
        }
    }
}

/// The images, by their file names in the build script.
#[cfg(persist_image)]
mod linked {
    use super::{AtomicU32, Image};

    /// Links an image into an executable section, aligned to a page. Its labels include
    /// the version, since a program may contain two versions of this library.
    #[cfg(target_os = "linux")]
    macro_rules! image {
        ($name:ident, $file:literal) => {
            core::arch::global_asm!(
                concat!(".pushsection .text.persist_image_", stringify!($name), ", \"ax\""),
                // The largest page size of the processors that have images.
                ".balign 65536",
                concat!(".globl ", label!("", $name)),
                concat!(".hidden ", label!("", $name)),
                concat!(label!("", $name), ":"),
                concat!(".incbin \"", env!("OUT_DIR"), "/", $file, "\""),
                concat!(".globl ", label!("end_", $name)),
                concat!(".hidden ", label!("end_", $name)),
                concat!(label!("end_", $name), ":"),
                ".popsection",
                options(raw)
            );
            pub(super) static $name: Image = {
                unsafe extern "C" {
                    #[link_name = label!("", $name)]
                    static START: [u8; 0];
                    #[link_name = label!("end_", $name)]
                    static END: [u8; 0];
                }
                fn bytes() -> &'static [u8] {
                    let start = (&raw const START).expose_provenance();
                    let length = (&raw const END).addr() - start;
                    // SAFETY: the assembler put this many bytes between the two labels,
                    // END after START, in a section that is never writable. They are
                    // not a Rust object, so they may hold any values.
                    unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(start), length) }
                }
                Image { bytes, user: AtomicU32::new(0) }
            };
        };
    }

    #[cfg(target_os = "linux")]
    macro_rules! label {
        ($which:literal, $name:ident) => {
            concat!(
                "persist_image_",
                $which,
                stringify!($name),
                "_",
                env!("CARGO_PKG_VERSION_MAJOR"),
                "_",
                env!("CARGO_PKG_VERSION_MINOR"),
                "_",
                env!("CARGO_PKG_VERSION_PATCH")
            )
        };
    }
    #[cfg(not(target_os = "linux"))]
    macro_rules! image {
        ($name:ident, $file:literal) => {
            pub(super) static $name: Image =
                Image { bytes: || include_bytes!(concat!(env!("OUT_DIR"), "/", $file)), user: AtomicU32::new(0) };
        };
    }

    image!(BASELINE, "baseline.cwasm");
    #[cfg(feature = "few-addresses")]
    image!(FEW_ADDRESSES, "few-addresses.cwasm");
    #[cfg(all(feature = "x86-64-v3", target_arch = "x86_64"))]
    image!(X86_64_V3, "x86-64-v3.cwasm");

    /// Returns whether this processor has what x86-64-v3 adds and the code may use.
    #[cfg(all(feature = "x86-64-v3", target_arch = "x86_64"))]
    pub(super) fn is_x86_64_v3() -> bool {
        macro_rules! has {
            ($($feature:tt)*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
        }
        has!("avx" "avx2" "bmi1" "bmi2" "fma" "lzcnt" "popcnt")
    }
}
