//! Sizes, ages and IDs as listings show them, in the words Ollama's users know.

use std::time::SystemTime;

/// Digits of a digest that a listing shows.
const ID_SHOWN: usize = 12;

/// `4.7 GB`, `98 MB`: decimal, one digit after the point below ten.
pub fn size_text(size_bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "KB")];
    let Some((unit, name)) = UNITS.iter().find(|(unit, _)| size_bytes >= *unit) else {
        return format!("{size_bytes} B");
    };
    let value = size_bytes as f64 / *unit as f64;
    if value >= 10.0 || value.fract() == 0.0 {
        format!("{} {name}", value as u64)
    } else {
        format!("{value:.1} {name}")
    }
}

/// `3 days ago`; nothing is known of a time to come.
pub fn age_text(then: Option<SystemTime>, now: SystemTime) -> String {
    let Some(seconds) = then.and_then(|then| now.duration_since(then).ok()).map(|since| since.as_secs()) else {
        return "Never".to_owned();
    };
    format!("{} ago", span_text(seconds))
}

/// A span of time in words, rounded down.
fn span_text(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        _ if seconds < 60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if days < 14 => format!("{days} days"),
        _ if days < 60 => format!("{} weeks", days / 7),
        _ if days < 730 => format!("{} months", days / 30),
        _ => format!("{} years", days / 365),
    }
}

/// The beginning of a digest, enough to mean it.
pub fn id_text(digest: &lair_store::Digest) -> String {
    let text = digest.to_string();
    text.trim_start_matches("sha256:").chars().take(ID_SHOWN).collect()
}

/// Bytes from `10GB`, `500 MiB`, `1.5g` or a bare number.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is no size"))?;
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024f64.powi(2),
        "gib" => 1024f64.powi(3),
        "tib" => 1024f64.powi(4),
        other => return Err(format!("`{other}` is no unit of size; write KB, MB, GB, TB, KiB, MiB, GiB or TiB")),
    };
    Ok((number * factor) as u64)
}

/// A time as RFC 3339 in UTC.
pub fn time_text(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = ((since.as_secs() / 86_400) as i64, since.as_secs() % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a count of days since 1970-01-01, in the proleptic Gregorian calendar.
///
/// Reference: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A time from RFC 3339, with `Z` or an offset; nothing for text that is none.
pub fn parse_time(text: &str) -> Option<SystemTime> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let separators = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")];
    if !separators.iter().all(|(at, separator)| text.get(*at..at + 1) == Some(separator)) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let is_in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    let rest = text.get(19..)?;
    let rest = rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let offset_s = match rest.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), offset) => {
            let (hours, minutes) = offset.split_once(':')?;
            let seconds = hours.parse::<u16>().ok()? as i64 * 3600 + minutes.parse::<u16>().ok()? as i64 * 60;
            if sign == "+" { seconds } else { -seconds }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset_s;
    let since = std::time::Duration::from_secs(u64::try_from(seconds).ok()?);
    is_in_range.then_some(SystemTime::UNIX_EPOCH.checked_add(since)).flatten()
}

/// When something ends, in the words of `ollama ps`: `4 minutes from now`, `Forever`, `Stopping...` when it is over.
pub fn until_text(then: SystemTime, now: SystemTime) -> String {
    const FOREVER_S: u64 = 20 * 365 * 86_400;
    match then.duration_since(now) {
        Err(_) => "Stopping...".to_owned(),
        Ok(left) if left.as_secs() > FOREVER_S => "Forever".to_owned(),
        Ok(left) => format!("{} from now", span_text(left.as_secs())),
    }
}

/// Days since 1970-01-01 of a day of the proleptic Gregorian calendar: the inverse of [`civil_from_days`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn sizes_read_as_they_are_written() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1 KB"),
            (98_362_432, "98 MB"),
            (1_117_320_768, "1.1 GB"),
            (40 << 30, "42 GB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
        for (text, bytes) in [("12", 12), ("1.5GB", 1_500_000_000), ("2 GiB", 2 << 30), ("10m", 10_000_000)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "1 parsec", "-1"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_are_rounded_down() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        for (seconds, text) in [
            (0, "Less than a second ago"),
            (59, "59 seconds ago"),
            (60, "About a minute ago"),
            (3600, "About an hour ago"),
            (47 * 3600, "47 hours ago"),
            (13 * 86_400, "13 days ago"),
            (21 * 86_400, "3 weeks ago"),
            (90 * 86_400, "3 months ago"),
            (800 * 86_400, "2 years ago"),
        ] {
            assert_eq!(age_text(Some(now - Duration::from_secs(seconds)), now), text);
        }
        assert_eq!(age_text(None, now), "Never");
    }

    #[test]
    fn what_is_left_is_said_in_the_words_of_ollama() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        for (seconds, text) in [
            (0, "Less than a second from now"),
            (299, "4 minutes from now"),
            (2 * 86_400, "2 days from now"),
            (100 * 365 * 86_400, "Forever"),
        ] {
            assert_eq!(until_text(now + Duration::from_secs(seconds), now), text);
        }
        assert_eq!(until_text(now - Duration::from_secs(1), now), "Stopping...");
    }

    #[test]
    fn times_are_read_with_any_offset() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:34:56Z", Some(951_827_696)),
            ("2000-02-29T14:34:56.123456789+02:00", Some(951_827_696)),
            ("2000-02-29T05:04:56-07:30", Some(951_827_696)),
            ("2026-12-31T23:59:59Z", Some(1_798_761_599)),
            ("2026-13-01T00:00:00Z", None),
            ("2026-12-31 23:59:59Z", None),
            ("2026-12-31T23:59:59", None),
            ("2026-12-31T23:59:59+xx:00", None),
            ("0001-01-01T00:00:00Z", None),
            ("é026-12-31T23:59:59Z", None),
            ("", None),
        ] {
            let expected = seconds.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }

    #[test]
    fn times_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(time_text(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
