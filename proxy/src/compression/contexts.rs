//! What it takes to compress and to decompress, shared by all sessions.
//!
//! A context is some ten to some hundred KiB. One that compresses is needed for as long as one packet takes, one that decompresses until the packet's
//! last byte has come; an idle session has neither.

use std::sync::{Mutex, PoisonError};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use zstd::bulk::Compressor;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{Fault, Method};

/// Of each kind so many are kept for the next session that needs one.
const KEPT: usize = 32;
/// The server's level for zlib.
const ZLIB_LEVEL: u32 = 6;
/// Levels above this one take milliseconds for a packet, in which the thread's other sessions would stand still.
const MOST_ZSTD_LEVEL: u8 = 9;
/// No frame needs a larger window: a compressed packet stands for less than 16 MiB.
const WINDOW_LOG: u32 = 24;
/// Decompressing a packet that stands for more has let the context grow: it is not kept.
const ORDINARY: usize = 128 * 1024;

/// Contexts that no session is using.
#[derive(Default)]
pub(crate) struct Contexts {
    deflating: Shelf<Compress>,
    inflating: Shelf<Decompress>,
    zstd_packing: Shelf<Compressor<'static>>,
    zstd_unpacking: Shelf<Decoder<'static>>,
}

struct Shelf<T>(Mutex<Vec<T>>);

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Shelf<T> {
    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, context: T) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(context);
        }
    }
}

/// At work on one packet.
pub(super) enum Decompressor {
    Zlib(Decompress),
    Zstd(Decoder<'static>),
}

/// What one step of decompressing came to.
pub(super) struct Step {
    /// Bytes of the input that were used.
    pub(super) used: usize,
    /// Bytes of the room that were filled.
    pub(super) made: usize,
    /// The data say that they end here.
    pub(super) ended: bool,
}

impl Contexts {
    /// Compresses `plain` into `room`; the size, or `None` where it does not fit.
    pub(super) fn compress(&self, method: Method, plain: &[u8], room: &mut [u8]) -> Option<usize> {
        match method {
            Method::Zlib => {
                let context = self.deflating.take();
                let mut context =
                    context.unwrap_or_else(|| Compress::new(Compression::new(ZLIB_LEVEL), true));
                context.reset();
                let status = context.compress(plain, room, FlushCompress::Finish);
                let size = usize::try_from(context.total_out()).ok();
                self.deflating.put(context);
                size.filter(|_| matches!(status, Ok(Status::StreamEnd)))
            }
            Method::Zstd(level) => {
                let context = self.zstd_packing.take();
                let mut context = context.or_else(|| Compressor::new(0).ok())?;
                let level = i32::from(level.min(MOST_ZSTD_LEVEL));
                let size = context
                    .set_compression_level(level)
                    .and_then(|()| context.compress_to_buffer(plain, room));
                self.zstd_packing.put(context);
                size.ok()
            }
        }
    }

    /// For a packet that begins.
    pub(super) fn decompressor(&self, method: Method) -> Result<Decompressor, Fault> {
        match method {
            Method::Zlib => {
                let context = self.inflating.take();
                Ok(Decompressor::Zlib(
                    context.unwrap_or_else(|| Decompress::new(true)),
                ))
            }
            Method::Zstd(_) => match self.zstd_unpacking.take() {
                Some(context) => Ok(Decompressor::Zstd(context)),
                None => bounded_decoder()
                    .map(Decompressor::Zstd)
                    .map_err(|_no_memory| Fault::Damaged),
            },
        }
    }

    /// Takes it back after a packet's end; the packet stood for `size` bytes.
    pub(super) fn give_back(&self, decompressor: Decompressor, size: usize) {
        match decompressor {
            Decompressor::Zlib(mut context) => {
                context.reset(true);
                self.inflating.put(context);
            }
            Decompressor::Zstd(mut context) => {
                if size <= ORDINARY && context.reinit().is_ok() {
                    self.zstd_unpacking.put(context);
                }
            }
        }
    }
}

fn bounded_decoder() -> std::io::Result<Decoder<'static>> {
    let mut context = Decoder::new()?;
    context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
    Ok(context)
}

impl Decompressor {
    /// Goes on with `input`, as far as `room` allows.
    pub(super) fn step(&mut self, input: &[u8], room: &mut [u8]) -> Result<Step, Fault> {
        match self {
            Self::Zlib(context) => {
                let before = (context.total_in(), context.total_out());
                let status = context
                    .decompress(input, room, FlushDecompress::None)
                    .map_err(|_cause| Fault::Damaged)?;
                let since = |now: u64, before| usize::try_from(now - before).map_err(|_cause| Fault::Damaged);
                Ok(Step {
                    used: since(context.total_in(), before.0)?,
                    made: since(context.total_out(), before.1)?,
                    ended: status == Status::StreamEnd,
                })
            }
            Self::Zstd(context) => {
                let mut input = InBuffer::around(input);
                let mut output = OutBuffer::around(room);
                let missing = context
                    .run(&mut input, &mut output)
                    .map_err(|_cause| Fault::Damaged)?;
                Ok(Step {
                    used: input.pos(),
                    made: output.pos(),
                    ended: missing == 0,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_others_is_bounded() {
        let contexts = Contexts::default();
        let kept = || contexts.zstd_unpacking.0.lock().expect("nobody panicked").len();
        let decompressor = || contexts.decompressor(Method::Zstd(3)).expect("memory");
        let many: Vec<_> = (0..=KEPT).map(|_| decompressor()).collect();
        for decompressor in many {
            contexts.give_back(decompressor, ORDINARY);
        }
        assert_eq!(kept(), KEPT);
        // One that has grown goes.
        contexts.give_back(decompressor(), ORDINARY + 1);
        assert_eq!(kept(), KEPT - 1);
    }
}
