//! What the kernels run on: an instruction set and a set of threads.
//!
//! [`Isa`] is a proof: a variant other than `Portable` carries a token that only detection hands out, so a kernel that is given
//! `Isa::Avx512` may use AVX-512 without asking again.

use crate::simd::{self, Op, Simd};
use crate::threads::Threads;

/// An instruction set that this processor has.
///
/// ```
/// use adflow::cpu::Isa;
/// let names: Vec<&str> = Isa::all().map(Isa::name).collect();
/// println!("{} of {names:?}", Isa::detect().name()); // avx512 of ["portable", "avx2", "avx512"]
/// assert_eq!(names[0], "portable");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust; the compiler vectorises it for the target's baseline. No fused multiply-add.
    Portable,
    /// AVX2 and FMA, 8 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2(simd::Avx2),
    /// AVX-512 F, 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512(simd::Avx512),
    /// Advanced SIMD, 4 lanes.
    #[cfg(target_arch = "aarch64")]
    Neon(simd::Neon),
}

impl Isa {
    /// The best instruction set of this processor. Without `std`, the best that the build was told of.
    pub fn detect() -> Self {
        Self::list().into_iter().flatten().last().unwrap_or(Self::Portable)
    }

    /// Every instruction set that this processor has, the slowest first.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::list().into_iter().flatten()
    }

    #[cfg(target_arch = "x86_64")]
    fn list() -> [Option<Self>; 3] {
        [Some(Self::Portable), simd::Avx2::detect().map(Self::Avx2), simd::Avx512::detect().map(Self::Avx512)]
    }

    #[cfg(target_arch = "aarch64")]
    fn list() -> [Option<Self>; 2] {
        [Some(Self::Portable), simd::Neon::detect().map(Self::Neon)]
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn list() -> [Option<Self>; 1] {
        [Some(Self::Portable)]
    }

    /// `portable`, `avx2`, `avx512` or `neon`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
        }
    }

    /// The instruction set of that [name](Self::name), if this processor has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|isa| isa.name() == name)
    }

    /// Runs `op` compiled for this instruction set.
    #[inline]
    pub fn run<O: Op>(self, op: O) -> O::Output {
        match self {
            Self::Portable => simd::Portable.vectorize(op),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(s) => s.vectorize(op),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(s) => s.vectorize(op),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(s) => s.vectorize(op),
        }
    }
}

/// An instruction set and the threads to use. Small, copied freely. It is the CPU as a [`Device`](crate::executor::Device).
///
/// ```
/// use adflow::cpu::{Cpu, Isa};
/// use adflow::threads::Threads;
/// let threads = Threads::new(2);
/// let cpu = Cpu::detect(&threads);
/// assert_eq!(cpu.threads().count(), 2);
/// // Without the vector instructions that this processor has beyond its kind, to compare:
/// let portable = Cpu::with_isa(Isa::Portable, &threads);
/// ```
#[derive(Clone, Copy)]
pub struct Cpu<'t> {
    isa: Isa,
    threads: &'t Threads,
}

impl<'t> Cpu<'t> {
    /// The best instruction set of this processor.
    ///
    /// The environment variable `ADFLOW_ISA` (`portable`, `avx2`, `avx512`, `neon`) chooses another one that the
    /// processor has; any other value is ignored. Without `std` there is no environment.
    pub fn detect(threads: &'t Threads) -> Self {
        #[cfg(feature = "std")]
        if let Some(isa) = std::env::var("ADFLOW_ISA").ok().and_then(|name| Isa::named(&name)) {
            return Self { isa, threads };
        }
        Self { isa: Isa::detect(), threads }
    }

    /// No vector instructions beyond the target's baseline.
    pub fn portable(threads: &'t Threads) -> Self {
        Self { isa: Isa::Portable, threads }
    }

    /// A chosen instruction set.
    pub fn with_isa(isa: Isa, threads: &'t Threads) -> Self {
        Self { isa, threads }
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The threads.
    pub fn threads(&self) -> &'t Threads {
        self.threads
    }
}
