//! The results, as a table.

use std::fmt;

use crate::cases::Metric;

/// The samples of one contestant.
#[derive(Clone, Debug)]
pub struct Row {
    pub metric: Metric,
    pub name: String,
    samples: Vec<f64>,
    /// The median of the case's first contestant, over the median of this one.
    pub ratio: Option<f64>,
}

#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub fn add(&mut self, metric: Metric, name: &str, sample: f64) {
        let row = self
            .rows
            .iter_mut()
            .find(|row| row.metric == metric && row.name == name);
        match row {
            Some(row) => row.samples.push(sample),
            None => self.rows.push(Row {
                metric,
                name: name.to_owned(),
                samples: vec![sample],
                ratio: None,
            }),
        }
    }

    /// The rows, metric by metric. In each metric, the first row is the one that the others are
    /// compared to.
    pub fn into_metrics(self) -> Vec<Vec<Row>> {
        let mut metrics: Vec<Vec<Row>> = Vec::new();
        for mut row in self.rows {
            row.samples.sort_by(f64::total_cmp);
            let rows = metrics.iter_mut().find(|rows| rows[0].metric == row.metric);
            match rows {
                Some(rows) => {
                    let ratio = rows[0].median() / row.median();
                    row.ratio = ratio.is_finite().then_some(ratio);
                    rows.push(row);
                }
                None => metrics.push(vec![row]),
            }
        }
        metrics
    }
}

impl Row {
    /// The middle sample; of two, the mean.
    pub fn median(&self) -> f64 {
        let middle = self.samples.len() / 2;
        if self.samples.len().is_multiple_of(2) {
            f64::midpoint(self.samples[middle - 1], self.samples[middle])
        } else {
            self.samples[middle]
        }
    }

    fn spread(&self) -> (f64, f64) {
        (self.samples[0], self.samples[self.samples.len() - 1])
    }
}

/// The table in Markdown, aligned for readers of the plain text.
pub struct Table<'a>(pub &'a [Vec<Row>]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![["", "unit", "", "median", "min–max", "ratio"].map(str::to_owned)];
        for rows in self.0 {
            for (at, row) in rows.iter().enumerate() {
                let (least, most) = row.spread();
                let first = |text: &str| {
                    if at == 0 {
                        text.to_owned()
                    } else {
                        String::new()
                    }
                };
                lines.push([
                    first(row.metric.name),
                    first(row.metric.unit),
                    row.name.clone(),
                    figure(row.median()),
                    format!("{}–{}", figure(least), figure(most)),
                    row.ratio
                        .map(|ratio| format!("{ratio:.2}"))
                        .unwrap_or_default(),
                ]);
            }
        }
        let widths: [usize; 6] = std::array::from_fn(|column| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or(0).max(3)
        });
        for (at, line) in lines.iter().enumerate() {
            for (cell, width) in line.iter().zip(widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if at == 0 {
                for (column, width) in widths.into_iter().enumerate() {
                    // Figures are aligned on the right.
                    let (dashes, end) = if column < 3 {
                        (width + 2, "")
                    } else {
                        (width + 1, ":")
                    };
                    write!(f, "|{}{end}", "-".repeat(dashes))?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// Prints three significant digits.
pub fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
