//! The owners of FFmpeg's objects, and the few calls the rest of the module makes of them.
//!
//! Raw pointers do not leave this file except inside these types. All take part in FFmpeg's rule
//! that one object is used by one thread at a time; buffers behind frames and packets are reference
//! counted atomically and may be read from several.

use super::error::CodecError;
use super::log::{self, Severity};
use ffmpeg_next::ffi;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// FFmpeg's text for an error code.
pub(super) fn error_text(code: c_int) -> String {
    let mut text: [c_char; 128] = [0; 128];
    // SAFETY: the buffer is 128 bytes long and stays zero-terminated: av_strerror writes at most the
    // size given, terminator included, whatever the code.
    unsafe {
        ffi::av_strerror(code, text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    }
}

/// FFmpeg's own version text, for example `FFmpeg 7.1.5`.
pub(super) fn version() -> String {
    // SAFETY: av_version_info returns a static zero-terminated text.
    let text = unsafe { CStr::from_ptr(ffi::av_version_info()) };
    format!("FFmpeg {}", text.to_string_lossy())
}

/// No frame or packet now; feed more.
pub(super) const AGAIN: c_int = ffi::AVERROR(libc::EAGAIN);
/// Everything was given back.
pub(super) const EOF: c_int = ffi::AVERROR_EOF;
/// The bytes make no sense.
pub(super) const INVALID: c_int = ffi::AVERROR_INVALIDDATA;
/// No memory.
pub(super) const NO_MEMORY: c_int = ffi::AVERROR(libc::ENOMEM);
/// An argument is out of range.
pub(super) const BAD_ARGUMENT: c_int = ffi::AVERROR(libc::EINVAL);

// ---- log ---------------------------------------------------------------------------------------

#[cfg(target_arch = "x86_64")]
type VaList = *mut ffi::__va_list_tag;
#[cfg(not(target_arch = "x86_64"))]
type VaList = ffi::va_list;

/// Tells FFmpeg to log through [`log::line`].
pub(super) fn set_log_callback() {
    // SAFETY: the callback is a function with the signature asked for, and it never unwinds.
    unsafe { ffi::av_log_set_callback(Some(on_log)) };
}

unsafe extern "C" fn on_log(
    object: *mut c_void,
    level: c_int,
    format: *const c_char,
    args: VaList,
) {
    // The low byte is the level; above it FFmpeg puts a colour.
    let severity = match level & 0xff {
        level if level <= ffi::AV_LOG_FATAL => Severity::Fatal,
        level if level <= ffi::AV_LOG_ERROR => Severity::Error,
        level if level <= ffi::AV_LOG_WARNING => Severity::Warning,
        level if level <= ffi::AV_LOG_INFO => Severity::Chatter,
        _ => return,
    };
    // A panic must not run into C; a subscriber that panics costs a line.
    let _ = std::panic::catch_unwind(|| {
        if !log::wanted(severity) {
            return;
        }
        let mut text: [c_char; 1024] = [0; 1024];
        let mut prefix: c_int = 1;
        // SAFETY: object, format and args are as FFmpeg passed them to this callback, used once, and
        // the line buffer's size is given; the result is cut off and zero-terminated.
        let text = unsafe {
            let size = text.len() as c_int;
            ffi::av_log_format_line2(
                object,
                level,
                format,
                args,
                text.as_mut_ptr(),
                size,
                &mut prefix,
            );
            CStr::from_ptr(text.as_ptr())
        };
        log::line(severity, &text.to_string_lossy());
    });
}

/// Asks SVT-AV1 for errors only, if nobody said otherwise and it is still safe to say so.
pub(super) fn quiet_svt_av1() {
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if alone && std::env::var_os("SVT_LOG").is_none() {
        // SAFETY: this is the process's only thread, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var("SVT_LOG", "1") };
    }
}

// ---- frames ------------------------------------------------------------------------------------

/// An `AVFrame`.
pub(super) struct Frame(NonNull<ffi::AVFrame>);

// SAFETY: an AVFrame is plain memory plus atomically counted buffers; it has no thread of its own.
unsafe impl Send for Frame {}
// SAFETY: through `&Frame` fields and buffers are only read; whatever writes takes `&mut Frame`.
unsafe impl Sync for Frame {}

impl Frame {
    pub(super) fn new() -> Result<Self, CodecError> {
        // SAFETY: no precondition; null means no memory.
        NonNull::new(unsafe { ffi::av_frame_alloc() })
            .map(Self)
            .ok_or(CodecError::Memory("a frame"))
    }

    pub(super) fn as_ptr(&self) -> *const ffi::AVFrame {
        self.0.as_ptr()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut ffi::AVFrame {
        self.0.as_ptr()
    }

    /// Makes `self` another reference to `other`'s buffers.
    pub(super) fn reference(&mut self, other: &Self) -> Result<(), CodecError> {
        // SAFETY: both frames live; unref makes self blank as av_frame_ref wants it.
        let code = unsafe {
            ffi::av_frame_unref(self.as_mut_ptr());
            ffi::av_frame_ref(self.as_mut_ptr(), other.as_ptr())
        };
        if code < 0 { Err(CodecError::Memory("a frame reference")) } else { Ok(()) }
    }

    pub(super) fn unref(&mut self) {
        // SAFETY: the frame lives; a blank frame may be unreferenced too.
        unsafe { ffi::av_frame_unref(self.as_mut_ptr()) };
    }

    pub(super) fn fields(&self) -> &ffi::AVFrame {
        // SAFETY: the frame lives as long as self and is only read through it. Enum fields are set
        // by FFmpeg itself; those that a bitstream can influence are read by `raw_enum`.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn fields_mut(&mut self) -> &mut ffi::AVFrame {
        // SAFETY: as above, and self is borrowed for writing.
        unsafe { self.0.as_mut() }
    }

    /// Pixel range, matrix as FFmpeg's numbers. Read as integers: FFmpeg passes on what a bitstream
    /// says, and a number its headers do not list must not become a Rust enum.
    pub(super) fn colour(&self) -> Colour {
        let frame = self.as_ptr();
        // SAFETY: the frame lives, and C enums have the size of c_int.
        unsafe {
            Colour {
                range: (&raw const (*frame).color_range).cast::<c_int>().read(),
                matrix: (&raw const (*frame).colorspace).cast::<c_int>().read(),
            }
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let mut frame = self.0.as_ptr();
        // SAFETY: self owned the frame, and nothing uses it after this.
        unsafe { ffi::av_frame_free(&mut frame) };
    }
}

/// How a frame's numbers are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour {
    /// `AVColorRange`.
    pub(super) range: c_int,
    /// `AVColorSpace`.
    pub(super) matrix: c_int,
}

// ---- packets -----------------------------------------------------------------------------------

/// An `AVPacket`.
pub(super) struct Packet(NonNull<ffi::AVPacket>);

// SAFETY: as for Frame.
unsafe impl Send for Packet {}

impl Packet {
    pub(super) fn new() -> Result<Self, CodecError> {
        // SAFETY: no precondition; null means no memory.
        NonNull::new(unsafe { ffi::av_packet_alloc() })
            .map(Self)
            .ok_or(CodecError::Memory("a packet"))
    }

    pub(super) fn data(&self) -> &[u8] {
        // SAFETY: the packet lives; data and size describe its payload, or data is null.
        unsafe {
            let packet = self.0.as_ref();
            if packet.data.is_null() || packet.size <= 0 {
                return &[];
            }
            std::slice::from_raw_parts(packet.data, packet.size as usize)
        }
    }

    pub(super) fn pts(&self) -> i64 {
        // SAFETY: the packet lives.
        unsafe { self.0.as_ref().pts }
    }

    pub(super) fn is_key(&self) -> bool {
        // SAFETY: the packet lives.
        unsafe { self.0.as_ref().flags & ffi::AV_PKT_FLAG_KEY != 0 }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        let mut packet = self.0.as_ptr();
        // SAFETY: self owned the packet.
        unsafe { ffi::av_packet_free(&mut packet) };
    }
}

// ---- codec contexts ----------------------------------------------------------------------------

/// What came of asking a codec for output.
pub(super) enum Given {
    /// Output is there.
    Some,
    /// Feed more first.
    None,
    /// Nothing will follow.
    End,
}

/// An `AVCodecContext`, open or about to be.
pub(super) struct Context {
    raw: NonNull<ffi::AVCodecContext>,
    codec: *const ffi::AVCodec,
    /// It is SVT-AV1, see [`SVT_AV1`].
    svt_av1: bool,
}

/// Held while an SVT-AV1 encoder is opened or closed. The library keeps process-wide tables that both
/// touch; FFmpeg keeps openings apart from each other but not from closings, and 2.3 then crashes
/// now and then.
static SVT_AV1: Mutex<()> = Mutex::new(());

// SAFETY: a codec context may be moved between threads; it is used through &mut only.
unsafe impl Send for Context {}

impl Context {
    /// The decoder or encoder of this name, not yet open; `None` if this FFmpeg has none.
    pub(super) fn find(name: &CStr, encoder: bool) -> Result<Option<Self>, CodecError> {
        // SAFETY: name is zero-terminated; codecs are static.
        let codec = unsafe {
            if encoder {
                ffi::avcodec_find_encoder_by_name(name.as_ptr())
            } else {
                ffi::avcodec_find_decoder_by_name(name.as_ptr())
            }
        };
        if codec.is_null() {
            return Ok(None);
        }
        // SAFETY: codec is one of FFmpeg's own.
        let raw = NonNull::new(unsafe { ffi::avcodec_alloc_context3(codec) });
        let raw = raw.ok_or(CodecError::Memory("a codec"))?;
        Ok(Some(Self { raw, codec, svt_av1: name == c"libsvtav1" }))
    }

    pub(super) fn fields(&self) -> &ffi::AVCodecContext {
        // SAFETY: the context lives as long as self; only scalar fields are read by callers.
        unsafe { self.raw.as_ref() }
    }

    pub(super) fn fields_mut(&mut self) -> &mut ffi::AVCodecContext {
        // SAFETY: as above, borrowed for writing.
        unsafe { self.raw.as_mut() }
    }

    /// Sets an option by name, on the context or the codec's private part.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), c_int> {
        let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) else {
            return Err(BAD_ARGUMENT);
        };
        // SAFETY: the context lives and starts with an AVClass; both texts are zero-terminated and
        // copied.
        let code = unsafe {
            let object = self.raw.as_ptr().cast::<c_void>();
            ffi::av_opt_set(
                object,
                name.as_ptr(),
                value.as_ptr(),
                ffi::AV_OPT_SEARCH_CHILDREN as c_int,
            )
        };
        if code < 0 { Err(code) } else { Ok(()) }
    }

    /// Gives a decoder its extradata, before it is opened.
    pub(super) fn set_extradata(&mut self, data: &[u8]) -> Result<(), CodecError> {
        let padding = ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
        let size = c_int::try_from(data.len()).map_err(|_| CodecError::Memory("extradata"))?;
        // SAFETY: the block has room for the data and the zeroed padding that FFmpeg asks for; the
        // context owns it from here and frees it with av_freep.
        unsafe {
            let block = ffi::av_mallocz(data.len() + padding).cast::<u8>();
            if block.is_null() {
                return Err(CodecError::Memory("extradata"));
            }
            ptr::copy_nonoverlapping(data.as_ptr(), block, data.len());
            let context = self.raw.as_mut();
            ffi::av_freep((&raw mut context.extradata).cast());
            context.extradata = block;
            context.extradata_size = size;
        }
        Ok(())
    }

    /// What an encoder wrote down about its stream when it was opened.
    pub(super) fn extradata(&self) -> &[u8] {
        let fields = self.fields();
        if fields.extradata.is_null() || fields.extradata_size <= 0 {
            return &[];
        }
        // SAFETY: extradata points to extradata_size bytes, unchanged while self is borrowed.
        unsafe { std::slice::from_raw_parts(fields.extradata, fields.extradata_size as usize) }
    }

    fn alone(&self) -> Option<MutexGuard<'static, ()>> {
        self.svt_av1.then(|| SVT_AV1.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens it; the code, and what FFmpeg complained about.
    pub(super) fn open(&mut self) -> Result<(), (c_int, Vec<String>)> {
        let _alone = self.alone();
        let (code, said) = log::keeping(|| {
            // SAFETY: the context lives, was made for this codec and is not open yet.
            unsafe { ffi::avcodec_open2(self.raw.as_ptr(), self.codec, ptr::null_mut()) }
        });
        if code < 0 { Err((code, said)) } else { Ok(()) }
    }

    /// Feeds a decoder. FFmpeg copies `data` and pads the copy, so any slice will do.
    pub(super) fn send_data(&mut self, data: &[u8], pts: i64) -> c_int {
        let Ok(size) = c_int::try_from(data.len()) else { return INVALID };
        // SAFETY: an AVPacket of zeroes is blank; with no buffer of its own it lends `data` for the
        // call only, as avcodec_send_packet makes a padded copy of packets that are not reference
        // counted. FFmpeg does not write through the pointer.
        unsafe {
            let mut packet: ffi::AVPacket = std::mem::zeroed();
            packet.data = data.as_ptr().cast_mut();
            packet.size = size;
            packet.pts = pts;
            packet.dts = pts;
            ffi::avcodec_send_packet(self.raw.as_ptr(), &packet)
        }
    }

    /// Tells a decoder that nothing follows.
    pub(super) fn send_data_end(&mut self) -> c_int {
        // SAFETY: the context is open; null means end.
        unsafe { ffi::avcodec_send_packet(self.raw.as_ptr(), ptr::null()) }
    }

    /// Takes a frame from a decoder.
    pub(super) fn receive_frame(&mut self, frame: &mut Frame) -> Result<Given, c_int> {
        // SAFETY: the context is open and the frame lives; it is unreferenced first by FFmpeg.
        given(unsafe { ffi::avcodec_receive_frame(self.raw.as_ptr(), frame.as_mut_ptr()) })
    }

    /// Feeds an encoder; `None` tells it that nothing follows.
    pub(super) fn send_frame(&mut self, frame: Option<&Frame>) -> c_int {
        let frame = frame.map_or(ptr::null(), Frame::as_ptr);
        // SAFETY: the context is open; FFmpeg takes a reference of its own to the frame's buffers.
        unsafe { ffi::avcodec_send_frame(self.raw.as_ptr(), frame) }
    }

    /// Takes a packet from an encoder.
    pub(super) fn receive_packet(&mut self, packet: &mut Packet) -> Result<Given, c_int> {
        // SAFETY: the context is open and the packet lives.
        given(unsafe { ffi::avcodec_receive_packet(self.raw.as_ptr(), packet.0.as_ptr()) })
    }

    /// Forgets what a decoder holds, so that it can start at another key frame.
    pub(super) fn flush_buffers(&mut self) {
        // SAFETY: the context is open.
        unsafe { ffi::avcodec_flush_buffers(self.raw.as_ptr()) };
    }
}

fn given(code: c_int) -> Result<Given, c_int> {
    match code {
        0.. => Ok(Given::Some),
        AGAIN => Ok(Given::None),
        EOF => Ok(Given::End),
        code => Err(code),
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _alone = self.alone();
        let mut raw = self.raw.as_ptr();
        // SAFETY: self owned the context, and closes it here with its threads.
        unsafe { ffi::avcodec_free_context(&mut raw) };
    }
}

// ---- buffer pools ------------------------------------------------------------------------------

/// An `AVBufferPool` of zero-initialised blocks of one size.
pub(super) struct BufferPool(NonNull<ffi::AVBufferPool>);

// SAFETY: FFmpeg's buffer pools lock themselves.
unsafe impl Send for BufferPool {}
// SAFETY: as above; av_buffer_pool_get may be called from several threads at once.
unsafe impl Sync for BufferPool {}

impl BufferPool {
    pub(super) fn new(size: usize) -> Result<Self, CodecError> {
        // Blocks start zeroed: they are handed out as &[u8], which must not be uninitialised.
        // SAFETY: av_buffer_allocz has the signature of a pool's allocator.
        let pool = unsafe { ffi::av_buffer_pool_init(size, Some(ffi::av_buffer_allocz)) };
        NonNull::new(pool).map(Self).ok_or(CodecError::Memory("a picture pool"))
    }

    /// A block of the pool's size, at least 32 byte aligned, not zeroed if it was used before.
    pub(super) fn get(&self) -> Result<*mut ffi::AVBufferRef, CodecError> {
        // SAFETY: the pool lives.
        let block = unsafe { ffi::av_buffer_pool_get(self.0.as_ptr()) };
        if block.is_null() { Err(CodecError::Memory("a picture")) } else { Ok(block) }
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        let mut pool = self.0.as_ptr();
        // SAFETY: self owned the pool; blocks still out keep it alive until the last comes back.
        unsafe { ffi::av_buffer_pool_uninit(&mut pool) };
    }
}

// ---- sound -------------------------------------------------------------------------------------

/// Sets a channel layout to the usual one for this many channels.
pub(super) fn default_layout(layout: &mut ffi::AVChannelLayout, channels: c_int) {
    // SAFETY: layout is a live structure, zeroed or valid, that owns nothing (a native order).
    unsafe { ffi::av_channel_layout_default(layout, channels) };
}

/// The two planes of a stereo float frame to write to, `samples` long; new memory if an encoder
/// still holds the last. The frame's format, layout and length are set, and stay.
pub(super) fn stereo_planes(
    frame: &mut Frame,
    samples: usize,
) -> Result<[&mut [f32]; 2], CodecError> {
    const MEMORY: CodecError = CodecError::Memory("sound");
    let raw = frame.as_mut_ptr();
    // SAFETY: the frame lives and describes planar float stereo. Without buffers it gets some of
    // its own, else they are made writable, which copies if anybody else holds them.
    let code = unsafe {
        if (*raw).buf[0].is_null() {
            ffi::av_frame_get_buffer(raw, 0)
        } else {
            ffi::av_frame_make_writable(raw)
        }
    };
    let fields = frame.fields();
    if code < 0 || fields.nb_samples as usize != samples || fields.data[1].is_null() {
        return Err(MEMORY);
    }
    let planes = [fields.data[0], fields.data[1]];
    for plane in planes {
        // SAFETY: each plane has room for `samples` floats; zeroed here, as it may be fresh memory.
        unsafe { ptr::write_bytes(plane.cast::<f32>(), 0, samples) };
    }
    // SAFETY: initialised above, aligned by FFmpeg, distinct planes, and borrowed from frame.
    Ok(planes.map(|plane| unsafe { std::slice::from_raw_parts_mut(plane.cast(), samples) }))
}

/// The first two planes of a planar float frame; a single channel stands for both. `None` for any
/// other kind of samples.
pub(super) fn float_planes(frame: &Frame) -> Option<[&[f32]; 2]> {
    let fields = frame.fields();
    let planar = fields.format == ffi::AVSampleFormat::AV_SAMPLE_FMT_FLTP as c_int;
    let samples = usize::try_from(fields.nb_samples).ok()?;
    let second = usize::from(fields.ch_layout.nb_channels > 1);
    let planes = [fields.data[0], fields.data[second]];
    if !planar || fields.ch_layout.nb_channels < 1 || planes.iter().any(|p| p.is_null()) {
        return None;
    }
    // SAFETY: each plane of a planar float frame holds nb_samples floats, written by the decoder.
    Some(planes.map(|plane| unsafe { std::slice::from_raw_parts(plane.cast(), samples) }))
}
