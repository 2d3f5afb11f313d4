//! CMAF: init segments and fragments (ISO/IEC 23000-19), by mp4-atom.
//!
//! One track a file, track id 1, no edit lists, no composition offsets: decode order is
//! presentation order (the ladder makes no B-frames), and the encoder's priming never leaves the
//! encoder. Video counts in 1/90000 s, sound in samples.

use super::av1::{self, SequenceHeader};
use super::bits::Bits;
use super::geometry::{AAC_FRAME, AUDIO_HZ, VIDEO_HZ};
use crate::link::wire::{Rendition, Rung, VideoCodec};
use crate::time::Bitrate;
use mp4_atom::{
    Audio, Av01, Av1c, Avc1, Avcc, AvccExt, Codec, Colr, Dinf, Dref, Encode, FourCC, Ftyp, Hdlr,
    Mdhd, Mdia, Mfhd, Minf, Moof, Moov, Mp4a, Mvex, Mvhd, Smhd, Stbl, Stco, Stsd, Styp, Tfdt, Tfhd,
    Tkhd, Traf, Trak, Trex, Trun, TrunEntry, Url, Visual, Vmhd, esds,
};

const TRACK: u32 = 1;

/// `sample_flags` of a sample decoding can start at: depends on no other (ISO/IEC 14496-12 8.8.3.1).
const SYNC: u32 = 0x0200_0000;
/// `sample_flags` of any other: depends on others, is not a sync sample.
const NON_SYNC: u32 = 0x0101_0000;

/// Why something cannot be boxed.
#[derive(Debug, thiserror::Error)]
pub enum CmafError {
    /// No SPS and PPS, or damaged ones.
    #[error("no usable H.264 parameter sets: {0}")]
    H264(&'static str),
    /// No AV1 sequence header, or a damaged one.
    #[error("no usable AV1 sequence header: {0}")]
    Av1(&'static str),
    /// An AudioSpecificConfig that is no AAC-LC at 48 kHz in stereo.
    #[error("no usable AudioSpecificConfig: {0}")]
    Aac(&'static str),
    /// More bytes than 32-bit box sizes allow.
    #[error("a fragment grew past 4 GiB")]
    TooLarge,
    /// The box writer refused.
    #[error("box writer: {0}")]
    Box(#[from] mp4_atom::Error),
}

/// What a decoder must know before the first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoConfig {
    /// NAL units without start code or length.
    H264 {
        /// Sequence parameter set.
        sps: Vec<u8>,
        /// Picture parameter set.
        pps: Vec<u8>,
    },
    /// AV1.
    Av1 {
        /// The sequence header OBU, with its size field.
        sequence_header: Vec<u8>,
    },
}

impl VideoConfig {
    /// From what encoders call extradata: Annex B or avcC for H.264, OBUs or av1C for AV1.
    pub fn from_extradata(codec: VideoCodec, extradata: &[u8]) -> Result<Self, CmafError> {
        match codec {
            VideoCodec::H264 => {
                let nals = if extradata.first() == Some(&1) {
                    avcc_nals(extradata)
                } else {
                    annex_b_nals(extradata)
                };
                let find = |kind: u8| {
                    nals.iter()
                        .find(|n| n.first().is_some_and(|b| b & 31 == kind))
                        .map(|n| n.to_vec())
                };
                let sps = find(7).filter(|s| s.len() >= 4).ok_or(CmafError::H264("no SPS"))?;
                let pps = find(8).ok_or(CmafError::H264("no PPS"))?;
                Ok(Self::H264 { sps, pps })
            }
            VideoCodec::Av1 => {
                // av1C begins with marker and version, 0x81; as an OBU header that bit is forbidden.
                let obus = if extradata.first() == Some(&0x81) {
                    extradata.get(4..).unwrap_or_default()
                } else {
                    extradata
                };
                let sequence_header =
                    av1::find_sequence_header(obus).ok_or(CmafError::Av1("none found"))?;
                Ok(Self::Av1 { sequence_header })
            }
        }
    }
}

fn annex_b_nals(data: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(window) = data.get(at..at + 3) {
        if window == [0, 0, 1] {
            starts.push(at);
            at += 3;
        } else {
            at += 1;
        }
    }
    let ends = starts.iter().skip(1).copied().chain([data.len()]);
    let nals = starts.iter().zip(ends).filter_map(|(&start, end)| data.get(start + 3..end));
    // A four-byte start code leaves one zero at the end of the NAL before it.
    nals.filter_map(|nal| nal.get(..=nal.iter().rposition(|&b| b != 0)?)).collect()
}

fn avcc_nals(data: &[u8]) -> Vec<&[u8]> {
    let mut nals = Vec::new();
    let mut at = 5;
    for mask in [0x1f, 0xff] {
        let Some(count) = data.get(at) else { return nals };
        at += 1;
        for _ in 0..count & mask {
            let Some(&[high, low]) = data.get(at..at + 2) else { return nals };
            let end = at + 2 + usize::from(u16::from_be_bytes([high, low]));
            let Some(nal) = data.get(at + 2..end) else { return nals };
            nals.push(nal);
            at = end;
        }
    }
    nals
}

/// The rendition of a rung: name, codec string and init segment.
pub fn video_rendition(rung: &Rung, config: &VideoConfig) -> Result<Rendition, CmafError> {
    let size = |n: u32| u16::try_from(n).map_err(|_| CmafError::TooLarge);
    let visual = Visual {
        data_reference_index: 1,
        width: size(rung.width)?,
        height: size(rung.height)?,
        ..Default::default()
    };
    // What the compositor makes: BT.709, limited range.
    let colr = Some(Colr::new(1, 1, 1, false)?);
    let (codec, codecs, brand) = match config {
        VideoConfig::H264 { sps, pps } => {
            let &[_, profile, constraints, level, ..] = sps.as_slice() else {
                return Err(CmafError::H264("SPS too short"));
            };
            let mut avcc = Avcc::new(sps, pps)?;
            avcc.ext = avcc_ext(sps)?;
            let codecs = format!("avc1.{profile:02x}{constraints:02x}{level:02x}");
            (Codec::from(Avc1 { visual, avcc, colr, ..Default::default() }), codecs, b"avc1")
        }
        VideoConfig::Av1 { sequence_header } => {
            let header =
                SequenceHeader::parse(sequence_header).ok_or(CmafError::Av1("malformed"))?;
            let av1c = Av1c {
                seq_profile: header.profile,
                seq_level_idx_0: header.level,
                seq_tier_0: header.high_tier,
                high_bitdepth: header.bit_depth > 8,
                twelve_bit: header.bit_depth == 12,
                monochrome: header.monochrome,
                chroma_subsampling_x: header.subsampling_x,
                chroma_subsampling_y: header.subsampling_y,
                chroma_sample_position: header.chroma_sample_position,
                initial_presentation_delay: None,
                config_obus: sequence_header.clone(),
            };
            (
                Codec::from(Av01 { visual, av1c, colr, ..Default::default() }),
                header.codecs(),
                b"av01",
            )
        }
    };
    let tkhd =
        Tkhd { width: size(rung.width)?.into(), height: size(rung.height)?.into(), ..tkhd() };
    let minf =
        Minf { vmhd: Some(Vmhd::default()), dinf: dinf(), stbl: stbl(codec), ..Default::default() };
    let init = init_segment(VIDEO_HZ, tkhd, b"vide", "Video", minf, brand, 0, NON_SYNC)?;
    Ok(Rendition {
        name: rung.name.clone(),
        codecs,
        bitrate: rung.bitrate,
        size: Some((rung.width, rung.height)),
        init,
    })
}

/// The fields that High and the profiles above it add to avcC (ISO/IEC 14496-15 5.3.3.1).
fn avcc_ext(sps: &[u8]) -> Result<Option<AvccExt>, CmafError> {
    if !matches!(sps.get(1), Some(100 | 110 | 122 | 144 | 244)) {
        return Ok(None);
    }
    let mut bits = Bits::new(sps.get(4..).unwrap_or_default());
    let mut next = || bits.exp_golomb().and_then(|v| u8::try_from(v).ok());
    let fields = (|| {
        next()?; // seq_parameter_set_id
        let chroma_format = next().filter(|&c| c < 4)?;
        if chroma_format == 3 {
            return None;
        }
        let depth = |d: u8| d.checked_add(8).filter(|&d| d < 16);
        Some((chroma_format, depth(next()?)?, depth(next()?)?))
    })();
    let (chroma_format, bit_depth_luma, bit_depth_chroma) =
        fields.ok_or(CmafError::H264("SPS is malformed"))?;
    Ok(Some(AvccExt {
        chroma_format,
        bit_depth_luma,
        bit_depth_chroma,
        sequence_parameter_sets_ext: Vec::new(),
    }))
}

/// The rendition of the sound. `asc` is the encoder's AudioSpecificConfig.
pub fn audio_rendition(bitrate: Bitrate, asc: &[u8]) -> Result<Rendition, CmafError> {
    let mut bits = Bits::new(asc);
    let mut field = |n| bits.take(n).ok_or(CmafError::Aac("too short"));
    let (object, rate, channels) = (field(5)?, field(4)?, field(4)?);
    if (object, rate, channels) != (2, 3, 2) {
        return Err(CmafError::Aac("not AAC-LC at 48 kHz in stereo"));
    }
    let bits_per_second = u32::try_from(bitrate.0).map_err(|_| CmafError::TooLarge)?;
    let config = esds::DecoderConfig {
        object_type_indication: 0x40, // MPEG-4 audio
        stream_type: 5,
        up_stream: 0,
        // The AAC decoder's input buffer: 6144 bits a channel (ISO/IEC 14496-3 4.5.3.1).
        buffer_size_db: [0, 0x06, 0x00].into(),
        max_bitrate: bits_per_second,
        avg_bitrate: bits_per_second,
        dec_specific: Some(esds::DecoderSpecific {
            profile: 2,
            freq_index: 3,
            chan_conf: 2,
            raw: asc.to_vec(),
        }),
    };
    let es_desc = esds::EsDescriptor { es_id: 0, dec_config: config, ..Default::default() };
    let audio = Audio {
        data_reference_index: 1,
        channel_count: 2,
        sample_size: 16,
        sample_rate: (AUDIO_HZ as u16).into(),
    };
    let codec =
        Codec::from(Mp4a { audio, esds: mp4_atom::Esds { es_desc }, btrt: None, taic: None });
    let tkhd = Tkhd { volume: 1.into(), alternate_group: 1, ..tkhd() };
    let minf =
        Minf { smhd: Some(Smhd::default()), dinf: dinf(), stbl: stbl(codec), ..Default::default() };
    let init =
        init_segment(AUDIO_HZ, tkhd, b"soun", "Sound", minf, b"caac", AAC_FRAME as u32, SYNC)?;
    Ok(Rendition {
        name: "audio".to_owned(),
        codecs: "mp4a.40.2".to_owned(),
        bitrate,
        size: None,
        init,
    })
}

fn tkhd() -> Tkhd {
    Tkhd { track_id: TRACK, enabled: true, in_movie: true, ..Default::default() }
}

fn dinf() -> Dinf {
    Dinf { dref: Dref { entries: vec![Url { location: String::new() }.into()] } }
}

fn stbl(codec: Codec) -> Stbl {
    Stbl { stsd: Stsd { codecs: vec![codec] }, stco: Some(Stco::default()), ..Default::default() }
}

#[allow(clippy::too_many_arguments)]
fn init_segment(
    timescale: u32,
    tkhd: Tkhd,
    handler: &'static [u8; 4],
    name: &str,
    minf: Minf,
    media_brand: &'static [u8; 4],
    default_sample_duration: u32,
    default_sample_flags: u32,
) -> Result<Vec<u8>, CmafError> {
    let brands = [b"iso6", b"cmfc", b"mp41", media_brand];
    let ftyp = Ftyp {
        major_brand: FourCC::new(b"iso6"),
        minor_version: 0,
        compatible_brands: brands.into_iter().map(FourCC::new).collect(),
    };
    let mdia = Mdia {
        mdhd: Mdhd { timescale, language: "und".to_owned(), ..Default::default() },
        hdlr: Hdlr { handler: FourCC::new(handler), name: name.to_owned() },
        minf,
    };
    let trex = Trex {
        track_id: TRACK,
        default_sample_description_index: 1,
        default_sample_duration,
        default_sample_size: 0,
        default_sample_flags,
    };
    let moov = Moov {
        mvhd: Mvhd {
            timescale,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: TRACK + 1,
            ..Default::default()
        },
        meta: None,
        mvex: Some(Mvex { mehd: None, trex: vec![trex] }),
        trak: vec![Trak { tkhd, mdia, ..Default::default() }],
        udta: None,
        ainf: None,
    };
    let mut out = Vec::with_capacity(1024);
    ftyp.encode(&mut out)?;
    moov.encode(&mut out)?;
    Ok(out)
}

/// Size and kind of one sample.
#[derive(Clone, Copy, Debug)]
pub struct SampleEntry {
    /// Bytes.
    pub size: usize,
    /// Whether decoding can start here.
    pub key: bool,
}

/// Everything of a fragment before its samples' bytes: styp where `opens` a segment, moof, and the
/// header of mdat. `base` is the first sample's decode time and `unit` each sample's duration, in
/// the track's timescale.
pub fn fragment_head(
    opens: bool,
    sequence: u32,
    base: u64,
    unit: u32,
    samples: impl ExactSizeIterator<Item = SampleEntry>,
) -> Result<Vec<u8>, CmafError> {
    let mut payload = 0usize;
    let mut entries = Vec::with_capacity(samples.len());
    let mut keys = 0;
    for sample in samples {
        payload += sample.size;
        keys += usize::from(sample.key);
        let size = u32::try_from(sample.size).map_err(|_| CmafError::TooLarge)?;
        entries.push(TrunEntry {
            size: Some(size),
            flags: Some(if sample.key { SYNC } else { NON_SYNC }),
            ..Default::default()
        });
    }
    // Flags as defaults where they are all alike, and apart from the first where only that one differs:
    // the usual part of video is one key frame or none.
    let first_is_key = entries.first().is_some_and(|e| e.flags == Some(SYNC));
    let default_flags = if keys == entries.len() { SYNC } else { NON_SYNC };
    if keys == 0 || keys == entries.len() {
        entries.iter_mut().for_each(|e| e.flags = None);
    } else if keys == 1 && first_is_key {
        entries.iter_mut().skip(1).for_each(|e| e.flags = None);
    }
    let tfhd = Tfhd {
        track_id: TRACK,
        default_sample_duration: Some(unit),
        default_sample_flags: Some(default_flags),
        default_base_is_moof: true,
        ..Default::default()
    };
    let trun = Trun { data_offset: Some(0), samples: entries.into() };
    let traf = Traf {
        tfhd,
        tfdt: Some(Tfdt { base_media_decode_time: base }),
        trun: vec![trun],
        ..Default::default()
    };
    let mut moof = Moof { mfhd: Mfhd { sequence_number: sequence }, traf: vec![traf] };
    let mut out = Vec::with_capacity(160 + 8 * moof.traf.first().map_or(0, |t| t.trun.len()));
    moof.encode(&mut out)?;
    // The offset counts from moof's first byte to the first byte after mdat's header; its field's
    // width is fixed, so the size does not change with it.
    let offset = i32::try_from(out.len() + 8).map_err(|_| CmafError::TooLarge)?;
    for trun in moof.traf.iter_mut().flat_map(|t| &mut t.trun) {
        trun.data_offset = Some(offset);
    }
    out.clear();
    if opens {
        let brands = [b"msdh", b"cmfs"];
        Styp {
            major_brand: FourCC::new(b"msdh"),
            minor_version: 0,
            compatible_brands: brands.into_iter().map(FourCC::new).collect(),
        }
        .encode(&mut out)?;
    }
    moof.encode(&mut out)?;
    let mdat = u32::try_from(payload + 8).map_err(|_| CmafError::TooLarge)?;
    out.extend_from_slice(&mdat.to_be_bytes());
    out.extend_from_slice(b"mdat");
    Ok(out)
}
