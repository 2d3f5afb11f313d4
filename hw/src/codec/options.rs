//! Setting a codec's options by name, with errors that say which one and what to do.

use super::decode::said_or_code;
use super::error::{CodecError, OpenError};
use super::ff::{self, Context};
use std::ffi::CStr;

/// The encoder of this name, not yet open.
pub(super) fn find_encoder(
    id: &'static CStr,
    name: &'static str,
    package: &str,
) -> Result<Context, CodecError> {
    super::log::install();
    Ok(Context::find(id, true)?.ok_or_else(|| OpenError {
        codec: name,
        option: None,
        said: format!("{} was built without it", ff::version()),
        cure: format!("Use an FFmpeg built with {package}: Debian 13's libavcodec61 is"),
    })?)
}

/// Sets options in order; the first that is refused ends it.
pub(super) fn set_options(
    context: &mut Context,
    name: &'static str,
    options: &[(&str, &str)],
) -> Result<(), CodecError> {
    for (option, value) in options {
        let (result, said) = super::log::keeping(|| context.set(option, value));
        result.map_err(|code| OpenError {
            codec: name,
            option: Some(((*option).into(), (*value).into())),
            said: said_or_code(said, code),
            cure: format!(
                "{} does not take this option: build against FFmpeg 7.1 (Debian 13)",
                ff::version()
            ),
        })?;
    }
    Ok(())
}

/// Opens an encoder; `options` are named in the error, as one of them is the likely cause.
pub(super) fn open_encoder(
    context: &mut Context,
    name: &'static str,
    options: &str,
    cure: &str,
) -> Result<(), CodecError> {
    context.open().map_err(|(code, said)| {
        CodecError::from(OpenError {
            codec: name,
            option: Some(("options".into(), options.into())),
            said: said_or_code(said, code),
            cure: match code {
                ff::NO_MEMORY => "Free memory, or use fewer or smaller rungs".into(),
                _ => cure.into(),
            },
        })
    })
}
