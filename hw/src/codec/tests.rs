//! The codecs against each other, on content made here.

use super::*;

/// Frame `n` of a moving scene: gradients, a sliding checkerboard, a bouncing square.
pub(super) fn scene(width: u32, height: u32, n: u32) -> Picture {
    let mut picture = Picture::alloc(width, height).unwrap();
    let [mut y, mut cb, mut cr] = picture.planes_mut().unwrap();
    let (w, h) = (width as usize, height as usize);
    let n = n as usize;
    let side = h / 4;
    let (left, top) = ((n * 5) % (w - side), (n * 3) % (h - side));
    for (row, line) in y.rows().enumerate() {
        for (column, pixel) in line.iter_mut().enumerate() {
            let inside = (left..left + side).contains(&column) && (top..top + side).contains(&row);
            *pixel = match inside {
                true => 40 + 160 * (((column + n) / 8 + row / 8) % 2) as u8,
                false => 30 + ((column * 100 / w + row * 80 / h) as u8),
            };
        }
    }
    for (plane, base) in [(&mut cb, 90), (&mut cr, 150)] {
        for (row, line) in plane.rows().enumerate() {
            for (column, pixel) in line.iter_mut().enumerate() {
                *pixel = base + ((column * 30 / w) + (row * 30 / h)) as u8;
            }
        }
    }
    picture
}

fn encode_all(
    config: &VideoEncoderConfig,
    count: u32,
    keys: &[u32],
) -> (VideoHeader, Vec<Encoded>) {
    let mut encoder = VideoEncoder::open(config).unwrap();
    let mut out = Vec::new();
    for n in 0..count {
        let before = out.len();
        let picture = scene(config.width, config.height, n);
        encoder.encode(&picture, n.into(), keys.contains(&n), &mut out).unwrap();
        assert_eq!(out.len(), before + 1, "{} gives one for one", config.codec);
    }
    encoder.flush(&mut out).unwrap();
    (encoder.header().clone(), out)
}

const ALL: [VideoOut; 4] = [VideoOut::H264, VideoOut::Av1, VideoOut::Vp8, VideoOut::Vp9];

#[test]
fn every_encoder_puts_key_frames_where_asked_and_decodes_to_what_went_in() {
    for codec in ALL {
        let config = VideoEncoderConfig {
            gop_frames: 60,
            ..VideoEncoderConfig::live(codec, 320, 180, 30, 800_000)
        };
        // At the grid, off the grid, and twice in a row.
        let keys = [0, 30, 37, 38, 60];
        let (header, samples) = encode_all(&config, 70, &keys);
        let found: Vec<_> = samples.iter().filter(|s| s.key).map(|s| s.frame as u32).collect();
        assert_eq!(found, keys, "{codec}");
        let mut decoder = VideoDecoder::of_samples(&header, 1).unwrap();
        let mut pictures = Vec::new();
        for sample in &samples {
            let before = pictures.len();
            decoder.decode(&sample.data, sample.frame, &mut pictures).unwrap();
            assert_eq!(pictures.len(), before + 1, "{codec} decodes without delay");
        }
        for (n, (pts, picture)) in pictures.iter().enumerate() {
            assert_eq!(*pts, n as i64, "{codec}");
            let psnr = picture.psnr(&scene(320, 180, n as u32)).unwrap();
            assert!(psnr > 28.0, "{codec} frame {n}: {psnr:.1} dB");
        }
        // Decoding may start at any key frame.
        let mut decoder = VideoDecoder::of_samples(&header, 1).unwrap();
        let mut pictures = Vec::new();
        for sample in &samples[37..] {
            decoder.decode(&sample.data, sample.frame, &mut pictures).unwrap();
        }
        assert_eq!(pictures.len(), 33, "{codec}");
        assert_eq!(pictures[0].0, 37);
    }
}

#[test]
fn two_encoders_of_one_configuration_write_the_same_header_and_another_differs() {
    for codec in [VideoOut::H264, VideoOut::Av1] {
        for threads in [1, 2] {
            let config = VideoEncoderConfig {
                gop_frames: 60,
                threads,
                ..VideoEncoderConfig::live(codec, 640, 360, 30, 600_000)
            };
            let header =
                |config: &VideoEncoderConfig| VideoEncoder::open(config).unwrap().header().clone();
            let first = header(&config);
            assert_eq!(first, header(&config), "{codec}");
            let other = VideoEncoderConfig { width: 320, height: 180, ..config };
            assert_ne!(first, header(&other), "{codec}");
        }
    }
}

#[test]
fn a_successor_continues_a_stream_under_the_same_header() {
    for codec in [VideoOut::H264, VideoOut::Av1] {
        let config = VideoEncoderConfig {
            gop_frames: 60,
            ..VideoEncoderConfig::live(codec, 320, 180, 30, 800_000)
        };
        let (header, mut samples) = encode_all(&config, 17, &[0]);
        let mut successor = VideoEncoder::open(&config).unwrap();
        for n in 17..34 {
            successor.encode(&scene(320, 180, n), n.into(), n == 17, &mut samples).unwrap();
        }
        let mut decoder = VideoDecoder::of_samples(&header, 1).unwrap();
        let mut pictures = Vec::new();
        for sample in &samples {
            decoder.decode(&sample.data, sample.frame, &mut pictures).unwrap();
        }
        assert_eq!(pictures.len(), 34, "{codec}");
        for (n, picture) in &pictures {
            assert!(picture.psnr(&scene(320, 180, *n as u32)).unwrap() > 28.0, "{codec} {n}");
        }
    }
}

#[test]
fn h264_samples_hold_slices_only_and_av1_samples_no_delimiter() {
    let config = VideoEncoderConfig::live(VideoOut::H264, 320, 180, 30, 500_000);
    for sample in encode_all(&config, 5, &[0, 3]).1 {
        let mut rest = &sample.data[..];
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let (unit, tail) = tail.split_at(u32::from_be_bytes(*len) as usize);
            assert_eq!(unit[0] & 31, if sample.key { 5 } else { 1 });
            rest = tail;
        }
        assert!(rest.is_empty());
    }
    for (screen, width) in [(false, 320), (true, 320), (true, 1280)] {
        let config = VideoEncoderConfig {
            screen,
            ..VideoEncoderConfig::live(VideoOut::Av1, width, width / 16 * 9, 30, 500_000)
        };
        let (header, samples) = encode_all(&config, 5, &[0, 3]);
        let VideoHeader::Av1 { sequence_header } = header else { panic!("{header:?}") };
        for sample in samples {
            let units: Vec<_> = bitstream::obus(&sample.data).collect();
            assert_eq!(units.iter().map(|unit| unit.bytes.len()).sum::<usize>(), sample.data.len());
            assert!(units.iter().all(|unit| unit.kind != 2));
            // Key frames carry the sequence header of the init segment, so joining there works.
            let found = bitstream::av1_sequence_header(&sample.data);
            assert_eq!(found, sample.key.then_some(&sequence_header[..]));
        }
    }
}

#[test]
fn for_rtp_h264_is_constrained_baseline_with_its_parameter_sets_in_band() {
    let config = VideoEncoderConfig {
        framing: Framing::Rtp,
        ..VideoEncoderConfig::live(VideoOut::H264, 320, 180, 30, 500_000)
    };
    let (header, samples) = encode_all(&config, 6, &[0, 4]);
    let VideoHeader::H264 { sps, .. } = header else { panic!("{header:?}") };
    assert_eq!((sps[1], sps[2] & 0x40), (66, 0x40)); // profile_idc, constraint_set1_flag
    let mut decoder = VideoDecoder::new(VideoIn::H264, 1).unwrap();
    let mut pictures = Vec::new();
    for sample in &samples {
        let kinds: Vec<_> = bitstream::nal_units(&sample.data).map(|unit| unit[0] & 31).collect();
        assert_eq!(kinds, if sample.key { vec![7, 8, 5] } else { vec![1] });
        decoder.decode(&sample.data, sample.frame, &mut pictures).unwrap();
    }
    assert_eq!(pictures.len(), 6);
}

#[test]
fn rate_control_keeps_to_the_bit_rate_on_hard_content() {
    for (codec, rate) in [(VideoOut::H264, 500_000), (VideoOut::Av1, 500_000)] {
        let config = VideoEncoderConfig {
            gop_frames: 60,
            ..VideoEncoderConfig::live(codec, 640, 360, 30, rate)
        };
        let mut encoder = VideoEncoder::open(&config).unwrap();
        let mut out = Vec::new();
        let mut seed = 1_u32;
        for n in 0..120 {
            let mut picture = scene(640, 360, n);
            for pixel in picture.to_mut().unwrap()[0].data.iter_mut() {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *pixel = pixel.wrapping_add((seed >> 29) as u8);
            }
            encoder.encode(&picture, n.into(), n % 60 == 0, &mut out).unwrap();
        }
        let bits = out.iter().map(|sample| sample.data.len() * 8).sum::<usize>() / 4;
        let ratio = bits as f64 / rate as f64;
        assert!((0.5..1.35).contains(&ratio), "{codec}: {bits} b/s");
    }
}

#[test]
fn a_stream_may_change_its_size_at_a_key_frame() {
    for (out, into) in [
        (VideoOut::H264, VideoIn::H264),
        (VideoOut::Vp8, VideoIn::Vp8),
        (VideoOut::Vp9, VideoIn::Vp9),
        (VideoOut::Av1, VideoIn::Av1),
    ] {
        for threads in [1, 3] {
            let mut decoder = VideoDecoder::new(into, threads).unwrap();
            let mut pictures = Vec::new();
            let sizes = [(320, 180), (640, 480), (180, 320), (320, 180)];
            for (k, (width, height)) in sizes.into_iter().enumerate() {
                let config = VideoEncoderConfig {
                    framing: Framing::Rtp,
                    ..VideoEncoderConfig::live(out, width, height, 30, 500_000)
                };
                for sample in encode_all(&config, 4, &[0]).1 {
                    let pts = 10 * k as i64 + sample.frame;
                    decoder.decode(&sample.data, pts, &mut pictures).unwrap();
                }
            }
            let seen: Vec<_> = pictures.iter().map(|(pts, p)| (*pts, p.size())).collect();
            let expected: Vec<_> = (0..4_i64)
                .flat_map(|k| (0..4).map(move |n| (10 * k + n, sizes[k as usize])))
                .collect();
            assert_eq!(seen, expected, "{out} {threads}");
        }
    }
}

#[test]
fn after_a_lost_picture_a_decoder_recovers_at_the_next_key_frame() {
    for (out, into) in [(VideoOut::H264, VideoIn::H264), (VideoOut::Vp8, VideoIn::Vp8)] {
        let config = VideoEncoderConfig {
            framing: Framing::Rtp,
            ..VideoEncoderConfig::live(out, 320, 180, 30, 800_000)
        };
        let samples = encode_all(&config, 30, &[0, 20]).1;
        let mut decoder = VideoDecoder::new(into, 1).unwrap();
        let mut pictures = Vec::new();
        // Starts in mid-stream, loses a picture, and half of another.
        for sample in samples.iter().filter(|sample| sample.frame > 2 && sample.frame != 9) {
            let len = if sample.frame == 12 { sample.data.len() / 2 } else { sample.data.len() };
            let _ = decoder.decode(&sample.data[..len], sample.frame, &mut pictures);
        }
        let good: Vec<_> = pictures.iter().filter(|(pts, _)| *pts >= 20).collect();
        assert_eq!(good.len(), 10, "{out}");
        for (n, picture) in good {
            assert!(picture.psnr(&scene(320, 180, *n as u32)).unwrap() > 28.0, "{out} {n}");
        }
    }
}

#[test]
fn what_an_encoder_cannot_do_is_an_error_with_the_cure() {
    let base = VideoEncoderConfig::live(VideoOut::H264, 320, 180, 30, 500_000);
    let av1 = VideoEncoderConfig::live(VideoOut::Av1, 320, 180, 30, 500_000);
    let cases = [
        (VideoEncoderConfig { preset: "quick".into(), ..base.clone() }, "preset", "superfast"),
        (VideoEncoderConfig { preset: "fast".into(), ..av1.clone() }, "preset", "0 (slow)"),
        (VideoEncoderConfig { width: 321, ..base.clone() }, "321x180", "even"),
        (VideoEncoderConfig { height: 32, ..av1 }, "320x32", "H.264"),
        (VideoEncoderConfig { height: 100_000, ..base.clone() }, "size", "8192"),
        (VideoEncoderConfig { fps: 0, ..base.clone() }, "fps", "240"),
        (VideoEncoderConfig { bitrate: 5, ..base.clone() }, "bitrate", "10 kb/s"),
    ];
    for (config, option, cure) in cases {
        let error = VideoEncoder::open(&config).map(|_| ()).unwrap_err();
        let text = error.to_string();
        assert!(error.is_open() && text.contains(config.codec.encoder()), "{text}");
        assert!(text.contains(option) && text.contains(cure), "{text}");
    }
    let mut encoder = VideoEncoder::open(&base).unwrap();
    let mut out = Vec::new();
    encoder.encode(&scene(320, 180, 0), 5, false, &mut out).unwrap();
    assert!(out[0].key, "the first picture is a key frame, asked for or not");
    let late = encoder.encode(&scene(320, 180, 1), 5, false, &mut out).unwrap_err();
    let large = encoder.encode(&scene(640, 360, 1), 6, false, &mut out).unwrap_err();
    assert!(late.is_bad_data() && large.is_bad_data(), "{late} / {large}");
    encoder.encode(&scene(320, 180, 1), 6, false, &mut out).unwrap();
    assert_eq!(out.len(), 2);
}

/// What FFmpeg itself refuses is told in its words: here an option that it does not know.
#[test]
fn an_option_that_ffmpeg_refuses_is_named() {
    let mut context = options::find_encoder(c"libx264", "libx264", "libx264").unwrap();
    let error = options::set_options(&mut context, "libx264", &[("no-such-option", "7")]);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("no-such-option = '7'") && text.contains("Option not found"), "{text}");
    let missing = options::find_encoder(c"nonesuch", "nonesuch", "nonesuch").map(|_| ());
    assert!(missing.unwrap_err().to_string().contains("built without it"));
    // Opened with nothing set, FFmpeg complains through the log; its words are in the error.
    let error = options::open_encoder(&mut context, "libx264", "none", "set it up");
    let text = error.unwrap_err().to_string();
    assert!(text.contains("timebase") && text.contains("set it up"), "{text}");
}

/// SVT-AV1 crashed now and then when one encoder was opened while another was closed.
#[test]
fn encoders_come_and_go_beside_each_other() {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let config =
                    VideoEncoderConfig::live(VideoOut::Av1, 64 + 64 * thread, 64, 30, 90_000);
                for _ in 0..12 {
                    assert_eq!(encode_all(&config, 2, &[0]).1.len(), 2);
                }
            });
        }
    });
}

mod garbage {
    use super::*;
    use proptest::prelude::*;

    /// A short stream of each codec, to damage.
    fn streams() -> &'static [(VideoIn, Vec<Vec<u8>>)] {
        static STREAMS: std::sync::OnceLock<Vec<(VideoIn, Vec<Vec<u8>>)>> =
            std::sync::OnceLock::new();
        STREAMS.get_or_init(|| {
            let pairs = [
                (VideoOut::H264, VideoIn::H264),
                (VideoOut::Vp8, VideoIn::Vp8),
                (VideoOut::Vp9, VideoIn::Vp9),
                (VideoOut::Av1, VideoIn::Av1),
            ];
            let units = |out| {
                let config = VideoEncoderConfig {
                    framing: Framing::Rtp,
                    ..VideoEncoderConfig::live(out, 128, 96, 30, 300_000)
                };
                encode_all(&config, 5, &[0]).1.into_iter().map(|s| s.data.to_vec()).collect()
            };
            pairs.map(|(out, into)| (into, units(out))).into()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..Default::default() })]

        #[test]
        fn random_bytes_are_errors_or_pictures(
            codec in 0..4_usize,
            units in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 1..6))
        {
            let mut decoder = VideoDecoder::new(VideoIn::ALL[codec], 1).unwrap();
            let mut out = Vec::new();
            for (pts, unit) in units.iter().enumerate() {
                if let Err(error) = decoder.decode(unit, pts as i64, &mut out) {
                    prop_assert!(error.is_bad_data(), "{}", error);
                }
            }
            prop_assert!(out.len() <= 64 * units.len());
        }

        #[test]
        fn damaged_streams_are_errors_or_pictures_and_a_good_one_decodes_after(
            codec in 0..4_usize,
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..30),
            cut in any::<prop::sample::Index>())
        {
            let (into, units) = &streams()[codec];
            let mut bad = units.clone();
            for (unit, at, value) in damage {
                let unit = unit.index(bad.len());
                let at = at.index(bad[unit].len());
                bad[unit][at] = value;
            }
            let unit = cut.index(bad.len());
            let len = bad[unit].len() / 2;
            bad[unit].truncate(len);
            let mut decoder = VideoDecoder::new(*into, 2).unwrap();
            let mut out = Vec::new();
            for (pts, unit) in bad.iter().enumerate() {
                let _ = decoder.decode(unit, pts as i64, &mut out);
            }
            for (_, picture) in &out {
                prop_assert!(picture.rows(0).map(<[u8]>::len).sum::<usize>() > 0);
            }
            out.clear();
            let _ = decoder.flush(&mut Vec::new());
            for (pts, unit) in units.iter().enumerate() {
                decoder.decode(unit, pts as i64, &mut out).unwrap();
            }
            prop_assert!(out.iter().filter(|(_, p)| p.size() == (128, 96)).count() >= units.len());
        }
    }
}
