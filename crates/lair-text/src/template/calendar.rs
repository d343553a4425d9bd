//! The date templates may ask for, and `strftime` in English.

use std::time::{SystemTime, UNIX_EPOCH};

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
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const DAY_SECONDS: i64 = 86_400;

/// A date and time of day, in whatever zone the caller chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Seconds since 1970-01-01 00:00, in that zone.
    seconds: i64,
}

impl LocalTime {
    /// The time `seconds` after 1970-01-01 00:00 UTC, in the zone `offset_seconds` east of UTC.
    pub fn from_unix(seconds: i64, offset_seconds: i32) -> LocalTime {
        LocalTime { seconds: seconds.saturating_add(i64::from(offset_seconds)) }
    }

    /// The given date and time of day; `month` and `day` count from 1.
    pub fn from_date(year: i32, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> LocalTime {
        // Days from civil: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let year = i64::from(year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((i64::from(month) + 9) % 12) + 2) / 5 + i64::from(day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        LocalTime { seconds: days * DAY_SECONDS + seconds }
    }

    /// The clock of the system, in UTC: the standard library does not know the local zone.
    pub fn now_utc() -> LocalTime {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        LocalTime { seconds: i64::try_from(seconds).unwrap_or(i64::MAX / 2) }
    }

    /// The time this many seconds later.
    pub(crate) fn plus_seconds(self, seconds: i64) -> LocalTime {
        LocalTime { seconds: self.seconds.saturating_add(seconds) }
    }

    /// Year, month from 1, day from 1.
    fn date(self) -> (i64, i64, i64) {
        let days = self.seconds.div_euclid(DAY_SECONDS) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        (era * 400 + year_of_era + i64::from(month <= 2), month, day)
    }

    /// The time in the words of `strftime`; an unknown directive stays as it is. `-` before a letter drops zeros.
    pub fn format(self, format: &str) -> String {
        let (year, month, day) = self.date();
        let second_of_day = self.seconds.rem_euclid(DAY_SECONDS);
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        let weekday = (self.seconds.div_euclid(DAY_SECONDS) + 4).rem_euclid(7);
        let january = LocalTime::from_date(year as i32, 1, 1, 0, 0, 0).seconds;
        let day_of_year = (self.seconds - january).div_euclid(DAY_SECONDS) + 1;
        let hour_of_12 = (hour + 11) % 12 + 1;
        let month_name = MONTHS[month as usize - 1];
        let weekday_name = WEEKDAYS[weekday as usize];
        let mut text = String::new();
        let mut rest = format.chars();
        while let Some(character) = rest.next() {
            if character != '%' {
                text.push(character);
                continue;
            }
            let mut directive = rest.next();
            let pads = directive != Some('-');
            if !pads {
                directive = rest.next();
            }
            let number = |value: i64, width: usize| if pads { format!("{value:0width$}") } else { value.to_string() };
            text.push_str(&match directive {
                Some('Y') => number(year, 4),
                Some('y') => number(year.rem_euclid(100), 2),
                Some('m') => number(month, 2),
                Some('d') => number(day, 2),
                Some('e') => format!("{day:2}"),
                Some('j') => number(day_of_year, 3),
                Some('H') => number(hour, 2),
                Some('I') => number(hour_of_12, 2),
                Some('M') => number(minute, 2),
                Some('S') => number(second, 2),
                Some('f') => "000000".to_owned(),
                Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
                Some('B') => month_name.to_owned(),
                Some('b' | 'h') => month_name[..3].to_owned(),
                Some('A') => weekday_name.to_owned(),
                Some('a') => weekday_name[..3].to_owned(),
                Some('w') => weekday.to_string(),
                Some('F') => format!("{year:04}-{month:02}-{day:02}"),
                Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
                Some('%') => "%".to_owned(),
                Some(other) => format!("%{}{other}", if pads { "" } else { "-" }),
                None => "%".to_owned(),
            });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::LocalTime;

    #[test]
    fn formats_dates_as_python_does() {
        let time = LocalTime::from_date(2025, 7, 26, 12, 34, 56);
        assert_eq!(time.format("%Y-%m-%d %H:%M:%S"), "2025-07-26 12:34:56");
        assert_eq!(time.format("%A, %d %b %y, %-m/%-d %I %p %j 100%%"), "Saturday, 26 Jul 25, 7/26 12 PM 207 100%");
        assert_eq!(LocalTime::from_unix(951_782_400, 0).format("%F %a"), "2000-02-29 Tue");
        assert_eq!(LocalTime::from_unix(0, -3600).format("%F %T"), "1969-12-31 23:00:00");
    }
}
