//! From when until when a certificate is good: the one thing that a server must read of its own certificate, which no part of
//! `rustls` tells.
//!
//! Source: RFC 5280, section 4.1: `Certificate ::= SEQUENCE { TBSCertificate ::= SEQUENCE { [0] version, serialNumber,
//! signature, issuer, validity SEQUENCE { notBefore, notAfter } ...`, in DER (X.690).

use std::time::{Duration, SystemTime};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Beginning and end of a certificate's time; `None` if it is no certificate. What lies before 1970 is 1970.
pub(crate) fn of_certificate(der: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest, VERSION)?.1;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = element(rest, tag)?.1;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (begin, rest) = time(validity)?;
    let (end, _) = time(rest)?;
    Some((begin, end))
}

/// The contents of the element that begins here, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        // No certificate is longer than three bytes can say.
        0x81..=0x83 => {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            rest = after;
            bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(der: &[u8]) -> Option<(SystemTime, &[u8])> {
    let tag = *der.first()?;
    let (text, rest) = element(der, tag)?;
    let (year_digits, centuries) = match tag {
        // RFC 5280, section 4.1.2.5.1: 50 to 99 are of the twentieth century.
        UTC_TIME if *text.first()? >= b'5' => (2, 1900),
        UTC_TIME => (2, 2000),
        GENERALIZED_TIME => (4, 0),
        _ => return None,
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if text.len() != year_digits + 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest_of_text) = text.split_at(year_digits);
    let year = centuries + year.parse::<u32>().ok()?;
    if year < 1970 {
        return Some((SystemTime::UNIX_EPOCH, rest));
    }
    let part = |index: usize| &rest_of_text[2 * index..2 * index + 2];
    let written = format!("{year:04}-{}-{}T{}:{}:{}Z", part(0), part(1), part(2), part(3), part(4));
    // 9999-12-31 means that there is no end; systems whose clock ends earlier take the latest they have.
    let parsed = humantime::parse_rfc3339(&written).ok();
    let far = || SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1 << 33));
    Some((parsed.or_else(|| (year > 2200).then(far).flatten())?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(tag: u8, contents: &[u8]) -> Vec<u8> {
        let length = contents.len();
        let head =
            if length < 0x80 { vec![tag, length as u8] } else { vec![tag, 0x82, (length >> 8) as u8, length as u8] };
        [head, contents.to_vec()].concat()
    }

    /// A certificate as far as it is read.
    fn certificate(begin: Vec<u8>, end: Vec<u8>, issuer_bytes: usize) -> Vec<u8> {
        let parts = [
            wrapped(VERSION, &wrapped(INTEGER, &[2])),
            wrapped(INTEGER, &[7; 16]),
            wrapped(SEQUENCE, &[5, 0]),
            wrapped(SEQUENCE, &vec![0; issuer_bytes]),
            wrapped(SEQUENCE, &[begin, end].concat()),
            wrapped(SEQUENCE, &[]),
        ];
        wrapped(SEQUENCE, &wrapped(SEQUENCE, &parts.concat()))
    }

    fn text(time: SystemTime) -> String {
        humantime::format_rfc3339_seconds(time).to_string()
    }

    #[test]
    fn both_kinds_of_time_are_read() {
        let utc = |text: &str| wrapped(UTC_TIME, text.as_bytes());
        let generalized = |text: &str| wrapped(GENERALIZED_TIME, text.as_bytes());
        for (begin, end, expected) in [
            (utc("240102030405Z"), utc("491231235959Z"), ("2024-01-02T03:04:05Z", "2049-12-31T23:59:59Z")),
            (utc("700101000000Z"), generalized("20500101000000Z"), ("1970-01-01T00:00:00Z", "2050-01-01T00:00:00Z")),
            (utc("500101000000Z"), generalized("99991231235959Z"), ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z")),
        ] {
            for issuer_bytes in [10, 500] {
                let der = certificate(begin.clone(), end.clone(), issuer_bytes);
                let (begin, end) = of_certificate(&der).expect("a time");
                assert_eq!((text(begin).as_str(), text(end).as_str()), expected);
            }
        }
        for wrong in ["", "Z", "2401020304Z", "240102030405", "24010203040xZ", "241302030405Z", "2401020304055Z"] {
            assert_eq!(of_certificate(&certificate(utc(wrong), utc("491231235959Z"), 10)), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_without_a_panic() {
        let utc = |text: &str| wrapped(UTC_TIME, text.as_bytes());
        let der = certificate(utc("240102030405Z"), utc("491231235959Z"), 300);
        for length in 0..der.len() {
            let _ = of_certificate(&der[..length]);
        }
        assert_eq!(of_certificate(&der[..der.len() - 10]), None);
        for place in 0..der.len() {
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = der.clone();
                changed[place] = value;
                let _ = of_certificate(&changed);
            }
        }
    }
}
