//! Plots the table's ratios: a group of bars for each metric, with a bar for each contestant that
//! tlsink is compared to. A line marks equality.

use std::error::Error;
use std::path::Path;

use plotters::prelude::{
    Color, DrawingArea, IntoDrawingArea, IntoFont, PathElement, RGBColor, Rectangle, SVGBackend,
    Text, WHITE,
};
use plotters::style::ShapeStyle;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::Row;

const WIDTH: i32 = 900;
/// The place where bars begin, to the right of the names.
const LEFT: i32 = 330;
/// The room right of the longest bar for its ratio.
const RIGHT: i32 = 70;
const TOP: i32 = 20;
const BAR: i32 = 20;
const HEADING: i32 = 34;

const INK: RGBColor = RGBColor(40, 40, 40);
const BETTER: RGBColor = RGBColor(46, 125, 90);
const WORSE: RGBColor = RGBColor(191, 87, 0);

/// The longest bar: beyond this ratio, the exact value does not matter.
const MOST: f64 = 3.0;

pub fn draw(metrics: &[Vec<Row>], file: &Path) -> Result<(), Box<dyn Error>> {
    let compared = || metrics.iter().filter(|rows| rows.len() > 1);
    let bars: usize = compared().map(|rows| rows.len() - 1).sum();
    let height =
        2 * TOP + HEADING * i32::try_from(compared().count())? + BAR * i32::try_from(bars)?;
    let root = SVGBackend::new(file, (WIDTH.unsigned_abs(), height.unsigned_abs()));
    let root = root.into_drawing_area();
    root.fill(&WHITE)?;
    let most = compared()
        .flat_map(|rows| rows.iter().filter_map(|row| row.ratio))
        .fold(1.0, f64::max)
        .min(MOST);
    let at = |ratio: f64| LEFT + (f64::from(WIDTH - LEFT - RIGHT) * ratio / most).round() as i32;
    let mut y = TOP;
    for rows in compared() {
        let metric = rows[0].metric;
        let direction = if metric.more_is_better {
            "more"
        } else {
            "less"
        };
        let heading = format!("{}, {}: {direction} is better", metric.name, metric.unit);
        write(&root, &heading, (12, y + HEADING * 2 / 3), HPos::Left, 18)?;
        y += HEADING;
        for row in &rows[1..] {
            let ratio = row.ratio.unwrap_or(0.0);
            let is_better = (ratio >= 1.0) == metric.more_is_better;
            let color = if is_better { BETTER } else { WORSE };
            let end = at(ratio.min(most));
            // The ratio must not stand on the line that marks 1.
            let figure = if end < at(1.0) && end + RIGHT / 2 > at(1.0) {
                at(1.0)
            } else {
                end
            };
            let middle = y + BAR / 2;
            let name = format!("{} ÷ {}", rows[0].name, row.name.replace('\\', ""));
            write(&root, &name, (LEFT - 8, middle), HPos::Right, 15)?;
            root.draw(&Rectangle::new(
                [(LEFT, y + 3), (end, y + BAR - 3)],
                color.filled(),
            ))?;
            write(
                &root,
                &format!("{ratio:.2}"),
                (figure + 6, middle),
                HPos::Left,
                12,
            )?;
            y += BAR;
        }
        let line = [
            (at(1.0), y - BAR * i32::try_from(rows.len() - 1)?),
            (at(1.0), y),
        ];
        root.draw(&PathElement::new(
            line,
            ShapeStyle::from(INK).stroke_width(1),
        ))?;
    }
    root.present()?;
    Ok(())
}

fn write(
    root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    text: &str,
    place: (i32, i32),
    anchor: HPos,
    size: i32,
) -> Result<(), Box<dyn Error>> {
    let style = ("sans-serif", size).into_font().color(&INK);
    let style = style.pos(Pos::new(anchor, VPos::Center));
    root.draw(&Text::new(text.to_owned(), place, style))?;
    Ok(())
}
