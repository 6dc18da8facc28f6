//! Trailer fields, in both directions.

use super::{Named, passes_as_trailer};
use crate::http::h1::{Field, MAX_FIELDS};

/// A trailer section that does not go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrailerError {
    /// It is not made of field lines.
    #[error("the trailer section is malformed")]
    Malformed,
    /// It has more fields than a head may have.
    #[error("the trailer section is too large")]
    TooLarge,
}

/// The fields of a trailer section that are forwarded; `raw` ends with the empty line.
///
/// # Errors
///
/// A [`TrailerError`]. Never panics.
pub fn forwarded_trailers<'a>(
    raw: &'a [u8],
    named: &Named,
) -> Result<Vec<Field<'a>>, TrailerError> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
    if raw.len() <= 2 {
        return Ok(Vec::new());
    }
    let parsed = httparse::parse_headers(raw, &mut slots).map_err(|error| match error {
        httparse::Error::TooManyHeaders => TrailerError::TooLarge,
        _ => TrailerError::Malformed,
    })?;
    let httparse::Status::Complete((_, fields)) = parsed else {
        return Err(TrailerError::Malformed);
    };
    Ok(fields.iter().filter(|field| passes_as_trailer(field.name, named)).copied().collect())
}
