//! Buffers that a thread uses again and again: what is read lands in one, what is written is put together in another.
//! Nothing of a connection stays in them.

use std::cell::Cell;

/// Bytes read at once.
pub(crate) const READ_BYTES: usize = 64 * 1024;
/// A write buffer that grew beyond this is given back.
const KEEP_BYTES: usize = 256 * 1024;

thread_local! {
    static READ: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static WRITE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the read buffer, [`READ_BYTES`] long. Inside itself it lends a new one.
pub(crate) fn with_read_buffer<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = READ.take();
    buffer.resize(READ_BYTES, 0);
    let result = use_it(&mut buffer);
    READ.set(buffer);
    result
}

/// Lends the write buffer, empty. Inside itself it lends a new one.
pub(crate) fn with_write_buffer<T>(use_it: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut buffer = WRITE.take();
    buffer.clear();
    let result = use_it(&mut buffer);
    if buffer.capacity() <= KEEP_BYTES {
        WRITE.set(buffer);
    }
    result
}
