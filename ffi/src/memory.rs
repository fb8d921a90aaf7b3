//! The working memory of a session: one block, from malloc or from the caller's allocator.

use crate::failure::{Failure, fail};
use crate::guard::{Caller, Versioned};
use core::ffi::c_void;
use core::mem::offset_of;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc};

/// Alignment of the memory of sessions: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;

/// Allocates `bytes` bytes at an address that is a multiple of `alignment`, a power of two. Returns NULL if it cannot.
pub type adflow_allocate_fn =
    Option<unsafe extern "C" fn(bytes: usize, alignment: usize, user_data: *mut c_void) -> *mut c_void>;

/// Frees `memory`, which `allocate` returned for the same `bytes` and `alignment`.
pub type adflow_release_fn =
    Option<unsafe extern "C" fn(memory: *mut c_void, bytes: usize, alignment: usize, user_data: *mut c_void)>;

/// An allocator of the program for the working memory of a session.
///
/// It is called by `adflow_session_new` and `adflow_session_free`, on the thread that calls them, and never while scoring.
/// Both functions must return normally and stay valid until the session is freed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_allocator {
    /// sizeof(adflow_allocator).
    pub struct_size: u32,
    /// Reserved; set to 0.
    pub reserved: u32,
    /// Allocates the memory. Required.
    pub allocate: adflow_allocate_fn,
    /// Frees the memory. NULL: it is never freed, as with an arena.
    pub release: adflow_release_fn,
    /// Passed to both functions.
    pub user_data: *mut c_void,
}

// SAFETY: `repr(C)`, the size first; a pointer to a function that is not NULL is one, promised by the caller.
unsafe impl Versioned for adflow_allocator {
    const NAME: &'static str = "adflow_allocator";
    const LEAST: usize = offset_of!(adflow_allocator, release);
}

/// Zeroed floats, returned on drop to the allocator that they came from.
pub(crate) struct Buffer {
    start: NonNull<f32>,
    len: usize,
    from: Option<adflow_allocator>,
}

impl Buffer {
    /// Allocates `len` zeros; a NULL allocator means malloc.
    pub fn new(c: &Caller, len: usize, allocator: *const adflow_allocator) -> Result<Buffer, Failure> {
        let from = if allocator.is_null() { None } else { Some(c.read("options.allocator", allocator)?) };
        let none = || fail!(OutOfMemory, "a session needs {} bytes of memory", len as u128 * 4);
        if len == 0 {
            return Ok(Buffer { start: NonNull::dangling(), len, from: None });
        }
        let layout = Layout::array::<f32>(len).and_then(|l| l.align_to(ALIGNMENT)).map_err(|_| none())?;
        let start: *mut f32 = match &from {
            // SAFETY: not of size 0.
            None => unsafe { alloc_zeroed(layout) }.cast(),
            Some(a) => {
                let allocate = a.allocate.ok_or_else(|| fail!(Null, "options.allocator.allocate is NULL"))?;
                // SAFETY: the caller promises a function of this type.
                unsafe { allocate(layout.size(), ALIGNMENT, a.user_data) }.cast()
            }
        };
        let start = NonNull::new(start).ok_or_else(none)?;
        let mut buffer = Buffer { start, len, from };
        if from.is_some() {
            if start.addr().get() % ALIGNMENT != 0 {
                return Err(fail!(Argument, "options.allocator gave memory that is not aligned to {ALIGNMENT} bytes"));
            }
            // SAFETY: the caller promises that many bytes, which nobody else uses.
            unsafe { buffer.start.as_ptr().write_bytes(0, len) };
        }
        debug_assert!(buffer.iter_mut().all(|v| *v == 0.0));
        Ok(buffer)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        match &self.from {
            None => {
                let layout = Layout::array::<f32>(self.len).and_then(|l| l.align_to(ALIGNMENT));
                if let Ok(layout) = layout {
                    // SAFETY: allocated with this layout.
                    unsafe { dealloc(self.start.as_ptr().cast(), layout) };
                }
            }
            Some(a) => {
                if let Some(release) = a.release {
                    // SAFETY: the caller promises a function of this type; the memory came from its counterpart.
                    unsafe { release(self.start.as_ptr().cast(), self.len * 4, ALIGNMENT, a.user_data) };
                }
            }
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `len` initialised floats that are ours.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}
