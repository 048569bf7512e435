//! Results of benchmarks, and timing.

use std::fs;
use std::time::Instant;

use crate::built;

/// One row of the table.
pub struct Ratio {
    what: String,
    found: f64,
    /// The required minimum or maximum.
    goal: Option<Goal>,
    detail: String,
}

#[derive(Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Ratio {
    fn is_met(&self) -> bool {
        match self.goal {
            None => true,
            Some(Goal::AtLeast(goal)) => self.found >= goal,
            Some(Goal::AtMost(goal)) => self.found <= goal,
        }
    }

    fn row(&self) -> String {
        let goal = match self.goal {
            None => String::new(),
            Some(Goal::AtLeast(goal)) => format!("at least {goal}"),
            Some(Goal::AtMost(goal)) => format!("at most {goal}"),
        };
        let mark = if self.is_met() { "" } else { "MISSED" };
        format!("{:<62} {:>8.2}  {:<14} {:<7} {}", self.what, self.found, goal, mark, self.detail)
    }

    fn json(&self) -> String {
        let (least, most) = match self.goal {
            Some(Goal::AtLeast(goal)) => (goal.to_string(), "null".to_owned()),
            Some(Goal::AtMost(goal)) => ("null".to_owned(), goal.to_string()),
            None => ("null".to_owned(), "null".to_owned()),
        };
        format!(
            r#"{{"what":{:?},"found":{},"at_least":{least},"at_most":{most},"met":{},"detail":{:?}}}"#,
            self.what,
            if self.found.is_nan() { "null".to_owned() } else { self.found.to_string() },
            self.is_met(),
            self.detail
        )
    }
}

/// The results so far.
#[derive(Default)]
pub struct Table(Vec<Ratio>);

impl Table {
    pub fn add(&mut self, what: impl Into<String>, found: f64, goal: impl Into<Option<Goal>>, detail: impl Into<String>) {
        let ratio = Ratio { what: what.into(), found, goal: goal.into(), detail: detail.into() };
        println!("{}", ratio.row());
        self.0.push(ratio);
    }

    /// Writes all rows as JSON and prints how many goals were missed. With `--check`
    /// among the arguments, fails if one was.
    pub fn finish(self, name: &str, arguments: &[String]) {
        let rows: Vec<String> = self.0.iter().map(Ratio::json).collect();
        let json = built::tmp().join(format!("bench_{name}.json"));
        fs::write(&json, format!("[\n{}\n]\n", rows.join(",\n"))).unwrap();
        let missed = self.0.iter().filter(|ratio| !ratio.is_met()).count();
        println!("\n{missed} of {} goals missed; as JSON: {}", self.0.iter().filter(|ratio| ratio.goal.is_some()).count(), json.display());
        assert!(missed == 0 || arguments.iter().all(|argument| argument != "--check"), "{missed} goals were missed");
    }
}

pub fn seconds(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

pub fn median(mut taken: Vec<f64>) -> f64 {
    taken.sort_by(f64::total_cmp);
    taken[taken.len() / 2]
}

/// Runs several ways to do the same in turn, and returns the median time of each in
/// seconds.
pub fn in_turn<const N: usize>(rounds: usize, mut ways: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut taken = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (way, taken) in ways.iter_mut().zip(&mut taken) {
            let took = seconds(&mut **way);
            if round > 0 {
                taken.push(took);
            }
        }
    }
    taken.map(median)
}
