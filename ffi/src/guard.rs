//! The one guard around every export, and the one place that follows a caller's pointers.
//!
//! C callers promise what the header says: a pointer is NULL or points to what its type says, text ends with a NUL,
//! handles come from adflow and have not been freed. [`Caller`] stands for that promise; only [`guard`] makes one, and
//! only exports, which are unsafe functions, call it. Everything that can be checked is checked: NULL, alignment, sizes.

use crate::failure::{self, Failure, Message, fail};
use crate::log::{adflow_log_level, log};
use crate::status::adflow_status;
use adflow_core::choice::Choice;
use core::cell::Cell;
use core::ffi::{CStr, c_char};
use core::marker::PhantomData;
use core::mem::{MaybeUninit, align_of, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// The body of an export, `guarded!(|caller| { ..; Ok(()) })`: gives its [`adflow_status`].
macro_rules! guarded {
    (|$caller:pat_param| $body:block) => {{
        let body = |$caller: &$crate::guard::Caller| -> Result<(), $crate::failure::Failure> { $body };
        // SAFETY: exports are unsafe functions, and their callers promise what `Caller` stands for.
        unsafe { $crate::guard::guard(body) }
    }};
}

/// The enumerator with this number: `all` lists those of `ty`, an enum that exists only in C, in the order of their numbers from 0.
/// `field` names the struct field in the error.
pub(crate) fn one_of<T: Copy>(all: &[T], number: u32, field: &str, ty: &str) -> Result<T, Failure> {
    let known = all.get(number as usize).copied();
    known.ok_or_else(|| fail!(Argument, "{field} is {number}, which is not one of {ty}"))
}

/// The value of one of the library's choices that has this number; `field` names the struct field in the error.
pub(crate) fn choice<T: Choice>(number: u32, field: &str) -> Result<T, Failure> {
    T::from_number(number).ok_or_else(|| {
        let ty = T::WHAT.replace(' ', "_");
        fail!(Argument, "{field} is {number}, which is not one of adflow_{ty}")
    })
}

/// The value of an option that has this number; `None` for 0, which leaves the choice to the library.
pub(crate) fn chosen<T: Choice>(number: u32, field: &str) -> Result<Option<T>, Failure> {
    if number == 0 { Ok(None) } else { choice(number, field).map(Some) }
}

/// Runs the body of an export; errors and panics become a status and the thread's message.
///
/// # Safety
/// All pointers that the body gives to [`Caller`] keep the promise of the header.
pub(crate) unsafe fn guard(body: impl for<'c> FnOnce(&'c Caller) -> Result<(), Failure>) -> adflow_status {
    failure::keep_panics_quiet();
    let caller = Caller { claims: Cell::new([Claim::EMPTY; CLAIMS]), blamed: Cell::new(None) };
    let status = match catch_unwind(AssertUnwindSafe(|| body(&caller))) {
        Ok(Ok(())) => return adflow_status::Ok,
        Ok(Err(failure)) => failure.status(),
        Err(panic) => failure::panicked(&*panic),
    };
    let message = failure::last();
    // BUSY is not noted with the object: its message belongs to the thread that is using it.
    if let Some(handle) = caller.blamed.get()
        && status != adflow_status::Busy
    {
        // SAFETY: the handle is alive during the call, promised by the caller.
        let text = unsafe { &*handle };
        *text.lock().unwrap_or_else(PoisonError::into_inner) = message;
    }
    log(adflow_log_level::Error, format_args!("{message}"));
    status
}

/// What a handle points to.
pub(crate) trait Handle {
    /// Name of the type in messages.
    const NAME: &'static str;
    /// The message of the last call on this handle that failed.
    fn error(&self) -> &Mutex<Message>;
}

/// A range of the caller's memory that one call reads or writes.
#[derive(Clone, Copy)]
struct Claim {
    name: &'static str,
    start: usize,
    end: usize,
    writes: bool,
}

/// Most claims that one call is checked for; no call makes that many.
const CLAIMS: usize = 16;

impl Claim {
    const EMPTY: Claim = Claim { name: "", start: 0, end: 0, writes: false };
}

/// Addresses and types of the handles that have not been freed. Only maintained in debug builds.
static LIVING: Mutex<Vec<(usize, &'static str)>> = Mutex::new(Vec::new());

/// A struct of the header that begins with its size, so that it can grow.
///
/// # Safety
/// `repr(C)`; the first field is `struct_size: u32`; all zeros is a value; so is every pattern of bits that C can write.
pub(crate) unsafe trait Versioned: Copy {
    /// Name of the struct in messages.
    const NAME: &'static str;
    /// The smallest `struct_size` accepted, in bytes: up to the last field that every version has and that has no default.
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
    claims: Cell<[Claim; CLAIMS]>,
    /// Where a failure of this call is also noted: the message of the handle it works on.
    blamed: Cell<Option<*const Mutex<Message>>>,
}

impl Caller {
    /// The object behind a handle. A later failure of this call is noted with that object.
    pub fn get<'c, T: Handle>(&'c self, name: &str, pointer: *const T) -> Result<&'c T, Failure> {
        check(name, pointer)?;
        if cfg!(debug_assertions) && !living().contains(&(pointer as usize, T::NAME)) {
            return Err(fail!(Handle, "{name} is not a valid {}: it was freed, or is of another type", T::NAME));
        }
        // SAFETY: not NULL and aligned; the caller promises that it points to a T that lives during this call.
        let handle = unsafe { &*pointer };
        self.blamed.set(Some(handle.error()));
        Ok(handle)
    }

    /// Records memory that the call uses; an error if memory that is written overlaps any other memory of the call.
    pub fn claim(&self, name: &'static str, start: usize, bytes: usize, writes: bool) -> Result<(), Failure> {
        let new = Claim { name, start, end: start.saturating_add(bytes), writes };
        let mut claims = self.claims.get();
        let meets = |c: &&Claim| (writes || c.writes) && c.start < new.end && new.start < c.end;
        if let Some(other) = claims.iter().find(meets) {
            return Err(fail!(Argument, "{name} overlaps {}", other.name));
        }
        if let Some(free) = claims.iter_mut().find(|c| c.end == 0) {
            *free = new;
        }
        self.claims.set(claims);
        Ok(())
    }

    /// Reads a struct of any version. Fields that an older caller lacks become zero; fields of a newer caller that this
    /// library does not know must be zero.
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
                "{name}: a field of {} is set that this library does not know, because it is older than the program's adflow.h",
                T::NAME
            ));
        }
        Ok(value)
    }

    /// Reads a struct of any version; NULL gives one that is all zeros, which means all defaults.
    pub fn read_or_default<T: Versioned>(&self, name: &str, pointer: *const T) -> Result<T, Failure> {
        if pointer.is_null() { Ok(T::new()) } else { self.read(name, pointer) }
    }

    fn struct_size<T: Versioned>(&self, name: &str, pointer: *const T) -> Result<usize, Failure> {
        check(name, pointer)?;
        // SAFETY: not NULL and aligned; the struct begins with its size.
        let size = unsafe { pointer.cast::<u32>().read() } as usize;
        // The upper limit only catches garbage; no struct of the ABI will ever be that large.
        if !(T::LEAST..=4096).contains(&size) {
            let (ty, least, now) = (T::NAME, T::LEAST, size_of::<T>());
            return Err(fail!(
                Argument,
                "{name}: struct_size is {size}; set it to sizeof({ty}), which is {now}, or at least {least} in old programs"
            ));
        }
        Ok(size)
    }

    /// A checked destination for a result of the type `T`.
    pub fn out<'c, T>(&'c self, name: &'static str, pointer: *mut T) -> Result<Out<'c, T>, Failure> {
        check(name, pointer)?;
        self.claim(name, pointer as usize, size_of::<T>(), true)?;
        Ok(Out { pointer, caller: PhantomData })
    }

    /// A checked destination for a struct of the version that the caller was compiled with.
    pub fn out_struct<'c, T: Versioned>(
        &'c self,
        name: &'static str,
        pointer: *mut T,
    ) -> Result<OutStruct<'c, T>, Failure> {
        let size = self.struct_size(name, pointer)?;
        self.claim(name, pointer as usize, size, true)?;
        Ok(OutStruct { pointer, size, caller: PhantomData })
    }

    /// A NUL-terminated text in UTF-8.
    pub fn text<'c>(&'c self, name: &str, pointer: *const c_char) -> Result<&'c str, Failure> {
        self.c_str(name, pointer)?.to_str().map_err(|_| fail!(Argument, "{name} is not UTF-8"))
    }

    /// A NUL-terminated path: the bytes that the system uses, or UTF-8 on Windows.
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

    /// An array of `len` numbers to read; the pointer may be NULL if `len` is 0.
    pub fn slice<'c, T: Copy>(&'c self, name: &'static str, pointer: *const T, len: usize) -> Result<&'c [T], Failure> {
        if len == 0 {
            return Ok(&[]);
        }
        check(name, pointer)?;
        self.check_len::<T>(name, pointer as usize, len)?;
        self.claim(name, pointer as usize, len * size_of::<T>(), false)?;
        // SAFETY: not NULL, aligned, inside the address space; the caller promises `len` readable values.
        Ok(unsafe { core::slice::from_raw_parts(pointer, len) })
    }

    /// An array of `len` numbers to write; the pointer may be NULL if `len` is 0.
    #[allow(clippy::mut_from_ref)] // The memory is the C caller's, not part of `self`.
    pub fn slice_mut<'c, T: Copy>(
        &'c self,
        name: &'static str,
        pointer: *mut T,
        len: usize,
    ) -> Result<&'c mut [T], Failure> {
        let values = self.part_mut(name, pointer, len)?;
        self.claim(name, pointer as usize, len * size_of::<T>(), true)?;
        Ok(values)
    }

    /// Part of an array to write, `len` numbers; the whole array is claimed elsewhere.
    #[allow(clippy::mut_from_ref)] // As above.
    pub fn part_mut<'c, T: Copy>(&'c self, name: &str, pointer: *mut T, len: usize) -> Result<&'c mut [T], Failure> {
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

    /// Copies a message to the caller's buffer, as `adflow_last_error_copy` documents.
    pub fn copy_message(
        &self,
        message: &Message,
        buffer: *mut c_char,
        capacity: usize,
        length: *mut usize,
    ) -> Result<(), Failure> {
        let bytes = message.bytes();
        let to = self.slice_mut("buffer", buffer.cast::<u8>(), capacity)?;
        let out = if length.is_null() { None } else { Some(self.out("length", length)?) };
        if let Some((end, to)) = to.split_last_mut() {
            let mut fits = bytes.len().min(to.len());
            // Not in the middle of a character.
            while fits < bytes.len() && fits > 0 && bytes[fits] & 0xC0 == 0x80 {
                fits -= 1;
            }
            to[..fits].copy_from_slice(&bytes[..fits]);
            *to.get_mut(fits).unwrap_or(end) = 0;
        }
        if let Some(out) = out {
            out.write(bytes.len());
        }
        Ok(())
    }

    /// Copies the message of the last call on a handle that failed.
    pub fn copy_error<T: Handle>(
        &self,
        handle: &T,
        buffer: *mut c_char,
        capacity: usize,
        length: *mut usize,
    ) -> Result<(), Failure> {
        let message = *handle.error().lock().unwrap_or_else(PoisonError::into_inner);
        self.copy_message(&message, buffer, capacity, length)
    }

    /// Hands an object to the caller as a handle, which owns it until `release`.
    pub fn lend<T: Handle>(value: T) -> *mut T {
        let pointer = Box::into_raw(Box::new(value));
        if cfg!(debug_assertions) {
            living().push((pointer as usize, T::NAME));
        }
        pointer
    }

    /// Takes a handle back and drops its object; NULL does nothing.
    pub fn release<T: Handle>(&self, pointer: *mut T) -> Result<(), Failure> {
        if pointer.is_null() {
            return Ok(());
        }
        if cfg!(debug_assertions) {
            let mut living = living();
            let at = living.iter().position(|h| *h == (pointer as usize, T::NAME));
            living.swap_remove(at.ok_or_else(|| {
                fail!(
                    Handle,
                    "the handle to free is not a valid {}: it was freed before, or is of another type",
                    T::NAME
                )
            })?);
        }
        // SAFETY: the caller promises a handle from `lend` that is not used again.
        drop(unsafe { Box::from_raw(pointer) });
        Ok(())
    }
}

/// Locks the object behind a handle; `Busy` if it is in use. An object stays usable after a panic, because it holds only scratch.
pub(crate) fn enter<'h, T>(lock: &'h Mutex<T>, name: &str) -> Result<MutexGuard<'h, T>, Failure> {
    match lock.try_lock() {
        Ok(state) => Ok(state),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(fail!(Busy, "another thread or a callback is using the {name}")),
    }
}

fn living() -> MutexGuard<'static, Vec<(usize, &'static str)>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A checked destination for a result, written once and only on success.
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

/// A checked destination for a struct whose size is that of the caller's version.
pub(crate) struct OutStruct<'c, T> {
    pointer: *mut T,
    size: usize,
    caller: PhantomData<&'c Caller>,
}

impl<T: Versioned> OutStruct<'_, T> {
    /// Writes the fields that the caller's version has; any that this library does not know become zero.
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
