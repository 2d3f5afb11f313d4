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
