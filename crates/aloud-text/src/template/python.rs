//! What chat templates expect of Python: `json.dumps` and `strftime`.

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};
use std::fmt::Write;
use std::io;

/// `tojson` as `transformers` defines it: `json.dumps(x, ensure_ascii=False)`, which escapes no
/// HTML and puts a space after `,` and `:`. Takes `indent`; refuses Python's other options unless
/// they are the defaults.
pub(super) fn tojson(value: &Value, kwargs: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    let ensure_ascii: Option<bool> = kwargs.get("ensure_ascii")?;
    let sort_keys: Option<bool> = kwargs.get("sort_keys")?;
    kwargs.assert_all_used()?;
    if ensure_ascii == Some(true) || sort_keys == Some(true) || indent > Some(16) {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "tojson takes indent up to 16, but not ensure_ascii or sort_keys",
        ));
    }
    let mut json = Vec::new();
    let result = match indent {
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, Spaced)),
        Some(width) => {
            let spaces = " ".repeat(width);
            let pretty = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, pretty))
        }
    };
    result.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    String::from_utf8(json).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// `, ` and `: `, as Python separates.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// `strftime` in the C locale for a time in seconds since 1970, without a time zone. `None` for a
/// directive that is not known.
pub(super) fn strftime(format: &str, unix_seconds: i64) -> Option<String> {
    let days = unix_seconds.div_euclid(86_400);
    let second = unix_seconds.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let weekday = DAYS[(days + 4).rem_euclid(7) as usize];
    let month_name = MONTHS[month as usize - 1];
    let hour12 = (hour + 11) % 12 + 1;
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next()?;
        let plain = directive == '-';
        if plain {
            directive = chars.next()?;
        }
        let (number, width) = match directive {
            'Y' => (year, 4),
            'm' => (month, 2),
            'd' => (day, 2),
            'H' => (hour, 2),
            'I' => (hour12, 2),
            'M' => (minute, 2),
            'S' => (second % 60, 2),
            'y' => (year.rem_euclid(100), 2),
            'j' => (days - days_before(year) + 1, 3),
            text => {
                out.push_str(match text {
                    'B' => month_name,
                    'b' | 'h' => &month_name[..3],
                    'A' => weekday,
                    'a' => &weekday[..3],
                    'p' if hour < 12 => "AM",
                    'p' => "PM",
                    '%' => "%",
                    _ => return None,
                });
                continue;
            }
        };
        let width = if plain { 1 } else { width };
        write!(out, "{number:0width$}").ok()?;
    }
    Some(out)
}

fn days_before(year: i64) -> i64 {
    let past = year - 1;
    365 * past + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400) - 719_162
}

/// Days since 1970 to (year, month, day) of the proleptic Gregorian calendar. Source: Howard
/// Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strftime_agrees_with_python() {
        for (seconds, format, expected) in [
            (0, "%Y-%m-%d %H:%M:%S", "1970-01-01 00:00:00"),
            (1_732_233_600, "%d %b %Y", "22 Nov 2024"),
            (951_782_399, "%A %d %B %Y %j", "Monday 28 February 2000 059"),
            (951_868_799, "%a %-d/%-m %I:%M %p %%", "Tue 29/2 11:59 PM %"),
            (-1, "%y %j", "69 365"),
        ] {
            assert_eq!(strftime(format, seconds).as_deref(), Some(expected));
        }
        assert_eq!(strftime("%Q", 0), None);
        assert_eq!(strftime("%", 0), None);
    }
}
