//! The one guard around every export, and the one place that follows a caller's pointers.
//!
//! C callers promise what the header says: a pointer is NULL or points to what its type says, text ends with a NUL,
//! handles come from adflow and have not been freed. [`Caller`] stands for that promise; only [`guard`] makes one, and
//! only exports, which are unsafe functions, call it. Everything that can be checked is checked: NULL, alignment, sizes.

use crate::status::{self, Failure, adflow_status, fail};
use core::ffi::{CStr, c_char};
use core::marker::PhantomData;
use core::mem::{MaybeUninit, align_of, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The body of an export, `guarded!(|caller| { ..; Ok(()) })`: gives its [`adflow_status`].
macro_rules! guarded {
    (|$caller:pat_param| $body:block) => {{
        let body = |$caller: &$crate::guard::Caller| -> Result<(), $crate::status::Failure> { $body };
        // SAFETY: exports are unsafe functions, and their callers promise what `Caller` stands for.
        unsafe { $crate::guard::guard(body) }
    }};
}

/// Runs the body of an export; errors and panics become a status and the thread's message.
///
/// # Safety
/// All pointers that the body gives to [`Caller`] keep the promise of the header.
pub(crate) unsafe fn guard(body: impl for<'c> FnOnce(&'c Caller) -> Result<(), Failure>) -> adflow_status {
    status::keep_panics_quiet();
    match catch_unwind(AssertUnwindSafe(|| body(&Caller { _only_here: () }))) {
        Ok(Ok(())) => adflow_status::Ok,
        Ok(Err(failure)) => failure.status(),
        Err(panic) => status::panicked(&*panic),
    }
}

/// A struct of the header that begins with its size, so that it can grow.
///
/// # Safety
/// `repr(C)`; the first field is `struct_size: u32`; all zeros is a value; so is every pattern of bits that C can write.
pub(crate) unsafe trait Versioned: Copy {
    /// Name in messages.
    const NAME: &'static str;
    /// The shortest that makes sense: what has been there from the beginning and has no default.
    const LEAST: usize;

    /// All zeros, with the size set.
    fn new() -> Self {
        // SAFETY: promised by the trait.
        let mut value: Self = unsafe { MaybeUninit::zeroed().assume_init() };
        set_size(&mut value, size_of::<Self>() as u32);
        value
    }
}

fn set_size<T: Versioned>(value: &mut T, size: u32) {
    // SAFETY: promised by the trait: the first field is the size.
    unsafe { (value as *mut T).cast::<u32>().write(size) }
}

/// The promise of the C caller, as a value: without it no pointer is followed.
pub(crate) struct Caller {
    _only_here: (),
}

impl Caller {
    /// What a handle or an array element points to.
    pub fn get<'c, T>(&'c self, name: &str, pointer: *const T) -> Result<&'c T, Failure> {
        check(name, pointer)?;
        // SAFETY: not NULL and aligned; the caller promises that it points to a T that lives during this call.
        Ok(unsafe { &*pointer })
    }

    /// A struct of any version: fields that an older caller does not know are zeros, and a newer caller's fields that
    /// this library does not know must be.
    pub fn read<T: Versioned>(&self, name: &str, pointer: *const T) -> Result<T, Failure> {
        let size = self.struct_size(name, pointer)?;
        let mut value = T::new();
        let known = size.min(size_of::<T>());
        // SAFETY: the caller promises `size` readable bytes; at most the size of a T is copied.
        unsafe { core::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), known) };
        set_size(&mut value, size_of::<T>() as u32);
        // SAFETY: the caller promises `size` readable bytes.
        let rest = unsafe { core::slice::from_raw_parts(pointer.cast::<u8>().add(known), size - known) };
        if rest.iter().any(|byte| *byte != 0) {
            return Err(fail!(
                Unsupported,
                "{name}: this library is older than the program's adflow.h and does not know a field of {} that is set",
                T::NAME
            ));
        }
        Ok(value)
    }

    /// The same, where NULL means all defaults.
    pub fn read_or_default<T: Versioned>(&self, name: &str, pointer: *const T) -> Result<T, Failure> {
        if pointer.is_null() { Ok(T::new()) } else { self.read(name, pointer) }
    }

    fn struct_size<T: Versioned>(&self, name: &str, pointer: *const T) -> Result<usize, Failure> {
        check(name, pointer)?;
        // SAFETY: not NULL and aligned; the struct begins with its size.
        let size = unsafe { pointer.cast::<u32>().read() } as usize;
        // The upper limit only finds garbage; no struct here will ever be that large.
        if !(T::LEAST..=4096).contains(&size) {
            let (ty, least, now) = (T::NAME, T::LEAST, size_of::<T>());
            return Err(fail!(
                Argument,
                "{name}: struct_size is {size}; set it to sizeof({ty}), which is {now}, or at least {least} in old programs"
            ));
        }
        Ok(size)
    }

    /// Where a result goes.
    pub fn out<'c, T>(&'c self, name: &str, pointer: *mut T) -> Result<Out<'c, T>, Failure> {
        check(name, pointer)?;
        Ok(Out { pointer, caller: PhantomData })
    }

    /// Where a struct of the caller's size goes.
    pub fn out_struct<'c, T: Versioned>(&'c self, name: &str, pointer: *mut T) -> Result<OutStruct<'c, T>, Failure> {
        let size = self.struct_size(name, pointer)?;
        Ok(OutStruct { pointer, size, caller: PhantomData })
    }

    /// Text in UTF-8.
    pub fn text<'c>(&'c self, name: &str, pointer: *const c_char) -> Result<&'c str, Failure> {
        self.c_str(name, pointer)?.to_str().map_err(|_| fail!(Argument, "{name} is not UTF-8"))
    }

    /// Path of a file: bytes as the system has them, on Windows UTF-8.
    pub fn path<'c>(&'c self, name: &str, pointer: *const c_char) -> Result<&'c Path, Failure> {
        #[cfg(unix)]
        let path: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(self.c_str(name, pointer)?.to_bytes());
        #[cfg(not(unix))]
        let path = self.text(name, pointer)?;
        Ok(Path::new(path))
    }

    fn c_str<'c>(&'c self, name: &str, pointer: *const c_char) -> Result<&'c CStr, Failure> {
        check(name, pointer)?;
        // SAFETY: not NULL; the caller promises a NUL at the end.
        Ok(unsafe { CStr::from_ptr(pointer) })
    }

    /// An array to read; NULL is fine if it is empty. `T` is a number.
    pub fn slice<'c, T: Copy>(&'c self, name: &str, pointer: *const T, len: usize) -> Result<&'c [T], Failure> {
        if len == 0 {
            return Ok(&[]);
        }
        check(name, pointer)?;
        self.check_len::<T>(name, pointer as usize, len)?;
        // SAFETY: not NULL, aligned, inside the address space; the caller promises `len` readable values.
        Ok(unsafe { core::slice::from_raw_parts(pointer, len) })
    }

    /// An array to write; NULL is fine if it is empty. `T` is a number.
    #[allow(clippy::mut_from_ref)] // The memory is the C caller's, not part of `self`.
    pub fn slice_mut<'c, T: Copy>(&'c self, name: &str, pointer: *mut T, len: usize) -> Result<&'c mut [T], Failure> {
        if len == 0 {
            return Ok(&mut []);
        }
        check(name, pointer)?;
        self.check_len::<T>(name, pointer as usize, len)?;
        // SAFETY: not NULL, aligned, inside the address space; the caller promises `len` writable values that nobody
        // else uses during this call, and exports ask for each array once.
        Ok(unsafe { core::slice::from_raw_parts_mut(pointer, len) })
    }

    fn check_len<T>(&self, name: &str, at: usize, len: usize) -> Result<(), Failure> {
        let bytes = len.checked_mul(size_of::<T>()).filter(|b| isize::try_from(*b).is_ok());
        match bytes.and_then(|b| at.checked_add(b)) {
            Some(_) => Ok(()),
            None => Err(fail!(Argument, "{name}: {len} values do not fit in memory")),
        }
    }

    /// Gives an object to the caller as a handle.
    pub fn lend<T>(value: T) -> *mut T {
        Box::into_raw(Box::new(value))
    }

    /// Takes a handle back; NULL is fine.
    pub fn release<T>(&self, pointer: *mut T) {
        if !pointer.is_null() {
            // SAFETY: the caller promises a handle from `lend` that is not used again.
            drop(unsafe { Box::from_raw(pointer) });
        }
    }
}

fn check<T>(name: &str, pointer: *const T) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(fail!(Null, "{name} is NULL"));
    }
    if !pointer.is_aligned() {
        return Err(fail!(Argument, "{name} is not aligned to {} bytes", align_of::<T>()));
    }
    Ok(())
}

/// A checked place for a result, written once and only on success.
pub(crate) struct Out<'c, T> {
    pointer: *mut T,
    caller: PhantomData<&'c Caller>,
}

impl<T> Out<'_, T> {
    /// Writes the result.
    pub fn write(self, value: T) {
        // SAFETY: not NULL and aligned; the caller promises a place for a T.
        unsafe { self.pointer.write(value) }
    }
}

/// A checked place for a struct of the caller's version.
pub(crate) struct OutStruct<'c, T> {
    pointer: *mut T,
    size: usize,
    caller: PhantomData<&'c Caller>,
}

impl<T: Versioned> OutStruct<'_, T> {
    /// Writes the fields that the caller knows; the caller's fields that this library does not know become zeros.
    pub fn write(self, mut value: T) {
        set_size(&mut value, self.size as u32);
        let known = self.size.min(size_of::<T>());
        let to = self.pointer.cast::<u8>();
        // SAFETY: the caller promises `size` writable bytes; at most the size of a T is read from `value`.
        unsafe {
            core::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), to, known);
            to.add(known).write_bytes(0, self.size - known);
        }
    }
}
