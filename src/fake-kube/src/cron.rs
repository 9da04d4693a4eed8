//! Schedules of CronJobs: five fields, names, steps, and descriptors.
//!
//! Source: `github.com/robfig/cron/v3` (`parser.go`, `spec.go`, `constantdelay.go`), ParseStandard; its words are the API's.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

/// When something is due again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Schedule {
    Fields(Fields),
    Every(SignedDuration),
}

/// Sets of numbers as bits, one set per field. A field that was `*` is marked: it does not choose days by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
}

const STAR: u64 = 1 << 63;
/// Beyond so many years nothing comes any more (`spec.go`, Next).
const YEARS: i16 = 5;

struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTHS: Bounds =
    Bounds { min: 1, max: 12, names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"] };
const WEEKDAYS: Bounds = Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Schedule {
    /// # Errors
    /// The parser's words.
    pub(crate) fn parse(text: &str) -> Result<Schedule, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        if text.starts_with('@') {
            return descriptor(text);
        }
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", parts.len(), parts.join(" ")));
        };
        Ok(Schedule::Fields(Fields {
            minute: field(minute, &MINUTES)?,
            hour: field(hour, &HOURS)?,
            day: field(day, &DAYS)?,
            month: field(month, &MONTHS)?,
            weekday: field(weekday, &WEEKDAYS)?,
        }))
    }

    /// The first time after `at`; none when that would be years away (31 February).
    pub(crate) fn next(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Schedule::Every(every) => {
                let whole = Timestamp::from_second(at.as_second()).ok()?;
                whole.checked_add(*every).ok()
            }
            Schedule::Fields(fields) => fields.next(at, zone),
        }
    }
}

impl Fields {
    fn next(self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let minute = Timestamp::from_second(at.as_second().div_euclid(60) * 60 + 60).ok()?;
        let mut t = minute.to_zoned(zone.clone());
        let last = t.year() + YEARS;
        while t.year() <= last {
            if !has(self.month, t.month()) {
                t = start_of_day(&t.first_of_month().ok()?.checked_add(1.month()).ok()?)?;
            } else if !self.day_matches(&t) {
                t = start_of_day(&t.checked_add(1.day()).ok()?)?;
            } else if !has(self.hour, t.hour()) {
                let past = i64::from(t.minute()) * 60 + i64::from(t.second());
                t = t.checked_add(SignedDuration::from_secs(3600 - past)).ok()?;
            } else if !has(self.minute, t.minute()) {
                t = t.checked_add(1.minute()).ok()?;
            } else {
                return Some(t.timestamp());
            }
        }
        None
    }

    /// Days of month and of week: both must agree, unless both are given; then either will do.
    fn day_matches(self, t: &Zoned) -> bool {
        let by_month = has(self.day, t.day());
        let by_week = has(self.weekday, t.weekday().to_sunday_zero_offset());
        if self.day & STAR != 0 || self.weekday & STAR != 0 { by_month && by_week } else { by_month || by_week }
    }
}

fn has(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| set & (1 << value) != 0)
}

fn start_of_day(t: &Zoned) -> Option<Zoned> {
    t.start_of_day().ok()
}

fn field(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let mut bits = 0;
    for part in text.split(',').filter(|part| !part.is_empty()) {
        bits |= range(part, bounds)?;
    }
    Ok(bits)
}

/// `number | number "-" number [ "/" number ]`, and `*` for all.
fn range(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let steps: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = steps[0].split('-').collect();
    let mut star = 0;
    let (start, mut end) = if matches!(ends[0], "*" | "?") {
        star = STAR;
        (bounds.min, bounds.max)
    } else {
        let start = number_or_name(ends[0], bounds.names)?;
        let end = match ends[..] {
            [_] => start,
            [_, end] => number_or_name(end, bounds.names)?,
            _ => return Err(format!("too many hyphens: {text}")),
        };
        (start, end)
    };
    let step = match steps[..] {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            // `N/step` means from N on.
            if ends.len() == 1 {
                end = bounds.max;
            }
            if step > 1 {
                star = 0;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < bounds.min {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.min));
    }
    if end > bounds.max {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", bounds.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok((start..=end).step_by(step as usize).fold(star, |bits, value| bits | 1 << value))
}

fn number_or_name(text: &str, names: &[&str]) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match names.iter().position(|name| *name == lower) {
        // Months count from one, weekdays from zero.
        Some(at) => Ok(at as u32 + u32::from(names.len() == 12)),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let syntax = || format!("failed to parse int from {text}: strconv.Atoi: parsing {}: invalid syntax", crate::status::quoted(text));
    let value: i64 = text.parse().map_err(|_| syntax())?;
    if value < 0 {
        return Err(format!("negative number ({value}) not allowed: {text}"));
    }
    u32::try_from(value).map_err(|_| syntax())
}

fn descriptor(text: &str) -> Result<Schedule, String> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(every) = text.strip_prefix("@every ") else { return Err(format!("unrecognized descriptor: {text}")) };
            let duration = go_duration(every)
                .ok_or_else(|| format!("failed to parse duration {text}: time: invalid duration {}", crate::status::quoted(every)))?;
            // Whole seconds, one at least.
            return Ok(Schedule::Every(SignedDuration::from_secs(duration.as_secs().max(1))));
        }
    };
    Schedule::parse(fields)
}

/// `1h30m`, as Go's `time.ParseDuration` reads it; units from milliseconds to hours.
fn go_duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut total = SignedDuration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let seconds = match &rest[digits..unit] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(SignedDuration::try_from_secs_f64(amount * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    // Cases of `spec_test.go`.
    #[case("0/15 * * * *", "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z")]
    #[case("20-35/15 * * * *", "2012-07-09T15:45:00Z", "2012-07-09T16:20:00Z")]
    #[case("*/15 * * * *", "2012-07-09T23:46:00Z", "2012-07-10T00:00:00Z")]
    #[case("*/15 */2 * * *", "2012-07-09T23:46:00Z", "2012-07-10T00:00:00Z")]
    #[case("0 0 9 Apr-Oct *", "2012-07-09T23:35:00Z", "2012-08-09T00:00:00Z")]
    #[case("0 0 */5 Apr,Aug,Oct Mon", "2012-07-09T23:35:00Z", "2012-08-01T00:00:00Z")]
    #[case("0 0 29 Feb ?", "2012-07-09T23:35:00Z", "2016-02-29T00:00:00Z")]
    #[case("@every 1h30m", "2012-07-09T14:45:00.5Z", "2012-07-09T16:15:00Z")]
    #[case("@weekly", "2012-07-09T14:45:00Z", "2012-07-15T00:00:00Z")]
    fn the_next_time(#[case] text: &str, #[case] at: &str, #[case] next: &str) {
        let found = Schedule::parse(text).unwrap().next(at.parse().unwrap(), &TimeZone::UTC);
        assert_eq!(found, Some(next.parse().unwrap()));
    }

    #[test]
    fn some_days_never_come() {
        assert_eq!(Schedule::parse("0 0 31 2 *").unwrap().next("2012-07-09T00:00:00Z".parse().unwrap(), &TimeZone::UTC), None);
    }

    #[rstest]
    #[case("* * * *", "expected exactly 5 fields, found 4: [* * * *]")]
    #[case("60 * * * *", "end of range (60) above maximum (59): 60")]
    #[case("* * * * 7", "end of range (7) above maximum (6): 7")]
    #[case("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3")]
    #[case("*/0 * * * *", "step of range should be a positive number: */0")]
    #[case("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax")]
    #[case("@often", "unrecognized descriptor: @often")]
    fn mistakes_are_told_in_the_parser_s_words(#[case] text: &str, #[case] words: &str) {
        assert_eq!(Schedule::parse(text).unwrap_err(), words);
    }
}
