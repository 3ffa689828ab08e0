//! Values in the binary form of the wire: cells on their way in, parameters on their way out.

use std::io;

use super::wire::{Parts, push_length};

/// A date, with or without a time of day, as the server has it: zero dates too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    pub(crate) year: u16,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    pub(crate) micros: u32,
}

/// A TIME: up to 838 hours of either sign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    pub(crate) negative: bool,
    pub(crate) hours: u32,
    pub(crate) minutes: u8,
    pub(crate) seconds: u8,
    pub(crate) micros: u32,
}

/// A value of a row, which it is a piece of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Integer(i64),
    Unsigned(u64),
    Single(f32),
    Double(f64),
    Moment(Moment),
    Span(Span),
    Bytes(&'a [u8]),
}

/// A parameter's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Integer(i64),
    Unsigned(u64),
    Double(f64),
    Moment(Moment),
    Span(Span),
    /// In the connection's character set.
    Text(Vec<u8>),
    /// In none.
    Bytes(Vec<u8>),
}

/// How a column's cells stand in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Null,
    Tiny(bool),
    Short(bool),
    Long(bool),
    LongLong(bool),
    Float,
    Double,
    Date,
    Moment,
    Span,
    Bits,
    Decimal,
    Text,
    Bytes,
}

impl Form {
    /// The form that a type's number, a column's character set and its flags stand for.
    pub(super) fn of(kind: u8, charset: u16, flags: u16) -> Form {
        const UNSIGNED: u16 = 1 << 5;
        /// The character set of what is no text.
        const BINARY: u16 = 63;
        let unsigned = flags & UNSIGNED != 0;
        match kind {
            0x01 => Form::Tiny(unsigned),
            // A year is a short.
            0x02 | 0x0d => Form::Short(unsigned),
            // A medium one is sent as a long one.
            0x03 | 0x09 => Form::Long(unsigned),
            0x08 => Form::LongLong(unsigned),
            0x04 => Form::Float,
            0x05 => Form::Double,
            0x06 => Form::Null,
            0x0a | 0x0e => Form::Date,
            0x07 | 0x0c => Form::Moment,
            0x0b => Form::Span,
            0x10 => Form::Bits,
            0x00 | 0xf6 => Form::Decimal,
            _ if charset == BINARY => Form::Bytes,
            _ => Form::Text,
        }
    }

    /// Takes a cell that is not null.
    #[inline]
    pub(super) fn take<'a>(self, rest: &mut Parts<'a>) -> io::Result<Cell<'a>> {
        Ok(match self {
            Form::Null => Cell::Null,
            Form::Tiny(false) => Cell::Integer(i8::from_le_bytes(rest.array()?).into()),
            Form::Tiny(true) => Cell::Unsigned(rest.byte()?.into()),
            Form::Short(false) => Cell::Integer(i16::from_le_bytes(rest.array()?).into()),
            Form::Short(true) => Cell::Unsigned(u16::from_le_bytes(rest.array()?).into()),
            Form::Long(false) => Cell::Integer(i32::from_le_bytes(rest.array()?).into()),
            Form::Long(true) => Cell::Unsigned(u32::from_le_bytes(rest.array()?).into()),
            Form::LongLong(false) => Cell::Integer(i64::from_le_bytes(rest.array()?)),
            Form::LongLong(true) => Cell::Unsigned(u64::from_le_bytes(rest.array()?)),
            Form::Float => Cell::Single(f32::from_le_bytes(rest.array()?)),
            Form::Double => Cell::Double(f64::from_le_bytes(rest.array()?)),
            Form::Date | Form::Moment => Cell::Moment(moment(rest)?),
            Form::Span => Cell::Span(span(rest)?),
            Form::Bits | Form::Decimal | Form::Text | Form::Bytes => Cell::Bytes(rest.prefixed()?),
        })
    }
}

/// What is zero at the end is left out.
#[inline]
fn moment(rest: &mut Parts<'_>) -> io::Result<Moment> {
    let length = rest.byte()?;
    let mut moment = Moment::default();
    if length >= 4 {
        moment.year = u16::from_le_bytes(rest.array()?);
        [moment.month, moment.day] = rest.array()?;
    }
    if length >= 7 {
        [moment.hour, moment.minute, moment.second] = rest.array()?;
    }
    if length >= 11 {
        moment.micros = u32::from_le_bytes(rest.array()?);
    }
    Ok(moment)
}

#[inline]
fn span(rest: &mut Parts<'_>) -> io::Result<Span> {
    let length = rest.byte()?;
    let mut span = Span::default();
    if length >= 8 {
        span.negative = rest.byte()? != 0;
        let days = u32::from_le_bytes(rest.array()?);
        let [hours, minutes, seconds] = rest.array()?;
        span.hours = days * 24 + u32::from(hours);
        (span.minutes, span.seconds) = (minutes, seconds);
    }
    if length >= 12 {
        span.micros = u32::from_le_bytes(rest.array()?);
    }
    Ok(span)
}

/// Appends the parameters of an execution: which are null, their types, and their values.
pub(super) fn push_all(out: &mut Vec<u8>, values: &[Value]) {
    if values.is_empty() {
        return;
    }
    let nulls = out.len();
    out.resize(nulls + values.len().div_ceil(8), 0);
    for (place, value) in values.iter().enumerate() {
        if *value == Value::Null {
            out[nulls + place / 8] |= 1 << (place % 8);
        }
    }
    // The types follow.
    out.push(1);
    for value in values {
        const UNSIGNED: u8 = 0x80;
        out.extend_from_slice(&match value {
            Value::Null => [0x06, 0],
            Value::Integer(_) => [0x08, 0],
            Value::Unsigned(_) => [0x08, UNSIGNED],
            Value::Double(_) => [0x05, 0],
            Value::Moment(_) => [0x0c, 0],
            Value::Span(_) => [0x0b, 0],
            Value::Text(_) => [0xfd, 0],
            Value::Bytes(_) => [0xfc, 0],
        });
    }
    for value in values {
        match value {
            Value::Null => {}
            Value::Integer(integer) => out.extend_from_slice(&integer.to_le_bytes()),
            Value::Unsigned(integer) => out.extend_from_slice(&integer.to_le_bytes()),
            Value::Double(double) => out.extend_from_slice(&double.to_le_bytes()),
            Value::Moment(moment) => {
                out.push(11);
                out.extend_from_slice(&moment.year.to_le_bytes());
                let Moment { month, day, hour, minute, second, .. } = *moment;
                out.extend_from_slice(&[month, day, hour, minute, second]);
                out.extend_from_slice(&moment.micros.to_le_bytes());
            }
            Value::Span(span) => {
                out.push(12);
                out.push(span.negative.into());
                out.extend_from_slice(&(span.hours / 24).to_le_bytes());
                out.extend_from_slice(&[(span.hours % 24) as u8, span.minutes, span.seconds]);
                out.extend_from_slice(&span.micros.to_le_bytes());
            }
            Value::Text(bytes) | Value::Bytes(bytes) => {
                push_length(out, bytes.len());
                out.extend_from_slice(bytes);
            }
        }
    }
}
