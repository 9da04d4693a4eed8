//! The bytes: varints, tags, lengths, fields that are skipped.
//!
//! Source of the rules and words: `Unmarshal` and `skipGenerated` in any `generated.pb.go`.

/// What is wrong with the bytes, in Go's words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("unexpected EOF")]
    Eof,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: negative length found during unmarshaling")]
    NegativeLength,
    #[error("proto: unexpected end of group")]
    EndOfGroup,
    #[error("proto: illegal wireType {0}")]
    IllegalWireType(u8),
    #[error("proto: {0}: wiretype end group for non-group")]
    NoGroup(String),
    #[error("proto: {0}: illegal tag {1} (wire type {2})")]
    IllegalTag(String, i32, u64),
    #[error("proto: wrong wireType = {0} for field {1}")]
    WrongWireType(u8, String),
    #[error("{0}")]
    Value(String),
    #[error("the object is nested too deeply")]
    TooDeep,
    #[error("the object has too many parts")]
    TooMany,
}

/// A place in the bytes of one message.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

/// Number and wire type of a field.
#[derive(Clone, Copy)]
pub(super) struct Tag {
    pub(super) number: i32,
    pub(super) wire: u8,
}

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Reader<'a> {
        Reader { rest }
    }

    pub(super) fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        let mut shift = 0u32;
        loop {
            if shift >= 64 {
                return Err(Error::Overflow);
            }
            let (&byte, rest) = self.rest.split_first().ok_or(Error::Eof)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// The next field's tag in a message of this name; `None` at its end.
    pub(super) fn tag(&mut self, message: &str) -> Result<Option<Tag>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let word = self.varint()?;
        // Go cuts the number to 32 bits.
        let (number, wire) = ((word >> 3) as u32 as i32, (word & 7) as u8);
        let short = || message.rsplit('.').next().unwrap_or(message).to_owned();
        if wire == 4 {
            return Err(Error::NoGroup(short()));
        }
        if number <= 0 {
            return Err(Error::IllegalTag(short(), number, word));
        }
        Ok(Some(Tag { number, wire }))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = self.varint()? as i64;
        let length = usize::try_from(length).map_err(|_| Error::NegativeLength)?;
        // What overflows the position has become negative in Go.
        if length > i64::MAX as usize - self.rest.len() {
            return Err(Error::NegativeLength);
        }
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Error::Eof)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn fixed64(&mut self) -> Result<u64, Error> {
        let (taken, rest) = self.rest.split_at_checked(8).ok_or(Error::Eof)?;
        self.rest = rest;
        Ok(taken.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// Steps over a field that nobody knows.
    pub(super) fn skip(&mut self, wire: u8) -> Result<(), Error> {
        let mut wire = wire;
        let mut depth = 0u32;
        loop {
            match wire {
                VARINT => drop(self.varint()?),
                FIXED64 => drop(self.fixed64()?),
                BYTES => drop(self.bytes()?),
                3 => depth += 1,
                4 => depth = depth.checked_sub(1).ok_or(Error::EndOfGroup)?,
                5 => self.rest = self.rest.get(4..).ok_or(Error::Eof)?,
                other => return Err(Error::IllegalWireType(other)),
            }
            if depth == 0 {
                return Ok(());
            }
            if self.rest.is_empty() {
                return Err(Error::Eof);
            }
            wire = (self.varint()? & 7) as u8;
        }
    }
}

/// `runtime.Unknown`.
#[derive(Default)]
pub(super) struct Envelope<'a> {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) raw: &'a [u8],
}

pub(super) fn envelope(data: &[u8]) -> Result<Envelope<'_>, Error> {
    let mut envelope = Envelope::default();
    let mut reader = Reader::new(data);
    while let Some(tag) = reader.tag("Unknown")? {
        let name = match tag.number {
            1 => "TypeMeta",
            2 => "Raw",
            3 => "ContentEncoding",
            4 => "ContentType",
            _ => {
                reader.skip(tag.wire)?;
                continue;
            }
        };
        if tag.wire != BYTES {
            return Err(Error::WrongWireType(tag.wire, name.to_owned()));
        }
        let bytes = reader.bytes()?;
        match tag.number {
            1 => type_meta(bytes, &mut envelope)?,
            2 => envelope.raw = bytes,
            _ => {}
        }
    }
    Ok(envelope)
}

fn type_meta(data: &[u8], envelope: &mut Envelope) -> Result<(), Error> {
    let mut reader = Reader::new(data);
    while let Some(tag) = reader.tag("TypeMeta")? {
        let (name, into) = match tag.number {
            1 => ("APIVersion", &mut envelope.api_version),
            2 => ("Kind", &mut envelope.kind),
            _ => {
                reader.skip(tag.wire)?;
                continue;
            }
        };
        if tag.wire != BYTES {
            return Err(Error::WrongWireType(tag.wire, name.to_owned()));
        }
        *into = String::from_utf8_lossy(reader.bytes()?).into_owned();
    }
    Ok(())
}
