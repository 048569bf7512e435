//! The component, compiled when this library was built: for each kind of processor
//! an image, linked into the program.
//!
//! On Linux an image stands in an executable section and is run where it is. In a
//! child that was forked off, where wasmtime has it in use already, it is run in a
//! file of memory. No memory that can be written is made executable, so that it also
//! works where the system forbids that. Elsewhere it is copied.

use std::sync::atomic::{AtomicU32, Ordering};

use wasmtime::component::Component;
use wasmtime::{Config, Engine, Result};

/// Compiled code of the component.
pub(crate) struct Image {
    bytes: fn() -> &'static [u8],
    /// The process that runs code where the image is; 0 if none does. wasmtime takes
    /// it once at a time.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there it is copied"))]
    user: AtomicU32,
}

/// Where code is run that is not wasmtime's copy. It stays until this is dropped.
pub(crate) enum InPlace {
    /// In the program. Others use a file of memory until this is dropped.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there it is copied"))]
    Program(&'static Image),
    #[cfg(target_os = "linux")]
    #[allow(dead_code, reason = "it is held")]
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
        #[cfg(target_os = "linux")]
        if let Some((in_place, bytes)) = self.in_place() {
            config.with_custom_code_memory(Some(std::sync::Arc::new(in_place::Executable(bytes))));
            let engine = Engine::new(&config)?;
            // SAFETY: the bytes are what `Engine::precompile_component` gave when
            // this library was built. They are never written, and stay as long as
            // `in_place`, which is dropped after all that uses them. That wasmtime,
            // settings and this machine's processor fit is checked by wasmtime itself.
            let component = unsafe { Component::deserialize_raw(&engine, bytes.into()) }?;
            return Ok((engine, component, Some(in_place)));
        }
        let engine = Engine::new(&config)?;
        // SAFETY: as above; they are copied.
        let component = unsafe { Component::deserialize(&engine, (self.bytes)()) }?;
        Ok((engine, component, None))
    }

    /// Where the image can be run, and its bytes there.
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
                tracing::debug!(%error, "code can't be run in a file of memory: it is copied");
                None
            }
        }
    }

    /// The place in the program, unless it is in use.
    #[cfg(target_os = "linux")]
    fn take(&'static self) -> Option<InPlace> {
        let this = std::process::id();
        let began = std::time::Instant::now();
        loop {
            match self.user.compare_exchange(0, this, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(InPlace::Program(self)),
                // The last engine is being dropped at this moment.
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

    /// How long who needs the place in the program waits for it: many times what
    /// dropping an engine takes.
    pub(super) const PATIENCE: Duration = Duration::from_millis(100);

    /// Bytes in a file of memory, mapped to be read and executed.
    pub(crate) struct Mapped {
        address: usize,
        length: usize,
    }

    impl Mapped {
        pub(super) fn new(bytes: &[u8]) -> io::Result<Self> {
            let mut file = File::from(memfd_create("persist", MemfdFlags::CLOEXEC)?);
            file.write_all(bytes)?;
            let (protection, flags) = (ProtFlags::READ | ProtFlags::EXEC, MapFlags::PRIVATE);
            // SAFETY: it asks for a new place, so that nothing is mapped over. Nobody
            // else has the file, which is closed below, and so nobody writes to it.
            let start = unsafe { mmap(std::ptr::null_mut(), bytes.len(), protection, flags, &file, 0) }?;
            Ok(Self { address: start.expose_provenance(), length: bytes.len() })
        }

        /// Whoever calls uses them no longer than this is there.
        pub(super) fn bytes(&self) -> &'static [u8] {
            // SAFETY: so many bytes were mapped there, and nobody writes them.
            unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(self.address), self.length) }
        }
    }

    impl Drop for Mapped {
        fn drop(&mut self) {
            // SAFETY: it was mapped above, and what has used it is dropped.
            let _ = unsafe { munmap(std::ptr::with_exposed_provenance_mut(self.address), self.length) };
        }
    }

    /// Code that is executable already.
    pub(super) struct Executable(pub(super) &'static [u8]);

    impl CustomCodeMemory for Executable {
        /// That of the constants among the code. The images have more.
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

/// The images, by what they are called in the build script.
mod linked {
    use super::{AtomicU32, Image};

    /// Links an image into an executable section, at a boundary of pages. Its labels
    /// bear the version, since a program may have two of this library.
    #[cfg(target_os = "linux")]
    macro_rules! image {
        ($name:ident, $file:literal) => {
            core::arch::global_asm!(
                concat!(".pushsection .text.persist_image_", stringify!($name), ", \"ax\""),
                // The largest pages that there are on the processors with images.
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
                    // SAFETY: the assembler has put so many bytes between the two
                    // labels, END behind START, in a section that nobody can write.
                    // They are no object of Rust's, and may hold anything.
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

    /// Whether this processor has what x86-64-v3 adds and compiled code may use.
    #[cfg(all(feature = "x86-64-v3", target_arch = "x86_64"))]
    pub(super) fn is_x86_64_v3() -> bool {
        macro_rules! has {
            ($($feature:tt)*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
        }
        has!("avx" "avx2" "bmi1" "bmi2" "fma" "lzcnt" "popcnt")
    }
}
