//! What else the processors did while something was measured: other programs, and other machines on the same host.

use std::fs::read_to_string;

/// CPU time since the machine started, in ticks, of all processors together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTimes {
    /// All there was.
    total: u64,
    /// Of it, nothing to do.
    idle: u64,
    /// Of it, taken by the host for others.
    stolen: u64,
    /// Of it, used by this process and the children it has waited for.
    own: u64,
}

impl CpuTimes {
    /// The times now; `None` where the system does not tell.
    pub fn now() -> Option<CpuTimes> {
        CpuTimes::parse(&read_to_string("/proc/stat").ok()?, &read_to_string("/proc/self/stat").ok()?)
    }

    /// From the texts of `/proc/stat` and `/proc/self/stat` (proc(5)).
    fn parse(system: &str, own: &str) -> Option<CpuTimes> {
        let line = system.lines().next()?.strip_prefix("cpu ")?;
        let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; guest times are part of user's.
        let [user, nice, kernel, idle, waiting, irq, soft_irq, stolen, ..] = fields[..] else { return None };
        // The name of the program may contain anything, spaces too; behind it stands the third field.
        let behind_name = &own[own.rfind(')')? + 1..];
        let own = behind_name.split_whitespace().skip(11).take(4).map_while(|field| field.parse::<u64>().ok()).sum();
        let total = user + nice + kernel + idle + waiting + irq + soft_irq + stolen;
        Some(CpuTimes { total, idle: idle + waiting, stolen, own })
    }
}

/// Time that others had during some spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    total: u64,
    stolen: u64,
    used: u64,
}

impl Others {
    /// Adds the span between two times.
    pub fn add(&mut self, before: Option<CpuTimes>, after: Option<CpuTimes>) {
        let (Some(before), Some(after)) = (before, after) else { return };
        let since = |of: fn(&CpuTimes) -> u64| of(&after).saturating_sub(of(&before));
        let (total, stolen) = (since(|times| times.total), since(|times| times.stolen));
        self.total += total;
        self.stolen += stolen;
        // Ticks of different counters come at different times, so the rest of a short span may be below 0.
        self.used += total.saturating_sub(since(|times| times.idle)).saturating_sub(stolen + since(|times| times.own));
    }

    /// Adds the spans of another sum.
    pub fn merge(&mut self, other: &Others) {
        self.total += other.total;
        self.stolen += other.stolen;
        self.used += other.used;
    }

    /// Of all CPU time, in percent, what others had.
    pub fn percent(&self) -> Option<f64> {
        Some(self.stolen_percent()? + self.used_percent()?)
    }

    /// What the host took for other machines.
    pub fn stolen_percent(&self) -> Option<f64> {
        (self.total > 0).then(|| 100.0 * self.stolen as f64 / self.total as f64)
    }

    /// What other programs used.
    pub fn used_percent(&self) -> Option<f64> {
        (self.total > 0).then(|| 100.0 * self.used as f64 / self.total as f64)
    }

    /// What to tell the user, if it was too much.
    pub fn warning(&self) -> Option<String> {
        /// A share that changes results by less than they vary anyway.
        const TOLERATED_PERCENT: f64 = 3.0;
        let (stolen, used) = (self.stolen_percent()?, self.used_percent()?);
        (stolen + used > TOLERATED_PERCENT).then(|| {
            format!(
                "while measuring, {used:.1} % of the processors' time went to other programs and {stolen:.1} % to other \
                 machines on the same host; compare these figures only with others of the same run"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(user: u64, idle: u64, stolen: u64, own: u64) -> Option<CpuTimes> {
        let system = format!("cpu  {user} 0 0 {idle} 0 0 0 {stolen} 0 0\ncpu0 1 2 3\n");
        CpuTimes::parse(&system, &format!("77 (a b) c) R 1 2 3 4 5 6 7 8 9 10 {own} 0 0 0 20 0"))
    }

    #[test]
    fn what_is_neither_idle_nor_own_is_others() {
        let mut others = Others::default();
        assert_eq!((others.percent(), others.warning()), (None, None));
        others.add(times(1000, 500, 10, 300), times(1190, 505, 15, 480));
        // 200 ticks: 5 idle, 5 stolen, 180 own, 10 others'.
        assert_eq!((others.stolen_percent(), others.used_percent()), (Some(2.5), Some(5.0)));
        assert!(others.warning().is_some_and(|text| text.contains("5.0 %") && text.contains("2.5 %")));
        let mut quiet = Others::default();
        quiet.add(times(1000, 500, 10, 300), times(1199, 501, 10, 499));
        assert_eq!((quiet.percent(), quiet.warning()), (Some(0.0), None));
    }

    #[test]
    fn what_is_no_such_text_is_not_known() {
        assert_eq!(CpuTimes::parse("", "1 (x) R"), None);
        assert_eq!(CpuTimes::parse("cpu  1 2 3\n", "1 (x) R"), None);
        assert_eq!(CpuTimes::parse("cpu  1 2 3 4 5 6 7 8\n", "no name"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_system_tells() {
        assert!(CpuTimes::now().is_some_and(|times| times.total > times.idle));
    }
}
