//! The plan of a round.

use std::time::Duration;

use super::writer::{Kind, Rotation};
use crate::common::dice::Dice;

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Further arguments of the receiver.
    pub receiver: Vec<&'static str>,
    /// The template for appended files; without one, there is only one file.
    pub name: Option<String>,
    pub kind: Kind,
    /// The lines of each sender.
    pub lines: usize,
    pub encode: &'static str,
    /// The files that are followed, and their rotation.
    pub followed: Vec<Rotation>,
    /// Two senders send the first one as the same stream.
    pub has_twins: bool,
    pub resumed: usize,
    pub relp: usize,
    pub plain: usize,
    /// Whether an old copy of the journal is put back.
    pub restores: bool,
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    CutAll,
    KillReceiver {
        pause: Duration,
    },
    /// By two signals, so that it waits for nobody.
    StopReceiver,
    KillFollower(usize),
    KillBoth {
        number: usize,
        pause: Duration,
    },
    FillDisk {
        time: Duration,
    },
    KillReceiverInCompaction {
        pause: Duration,
    },
}

impl Plan {
    /// Paths that are so long that the journal is soon full, in files of a line each.
    pub fn of_compaction(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let folder = "x".repeat(215) + "/";
        Plan {
            seed,
            receiver: vec!["--lanes", dice.one_of(&["1", "2"]), "--rotate", "10"],
            name: Some(folder.repeat(17) + "all.log"),
            kind: Kind::Tagged,
            lines: 750,
            encode: "zstd",
            followed: vec![Rotation::No],
            has_twins: false,
            resumed: 1,
            relp: 1,
            plain: 0,
            restores: false,
            steps: vec![Step::KillReceiverInCompaction {
                pause: Duration::from_millis(dice.below(20) as u64),
            }],
        }
    }

    pub fn roll(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let restores = dice.below(8) == 0;
        let has_followers = dice.below(6) > 0;
        let has_resumed = !has_followers || dice.below(3) == 0;
        let is_alone = has_followers && dice.below(3) == 0;
        let followed = if has_followers { 1 + dice.below(2) } else { 0 };
        let followed = if is_alone { 1 } else { followed };
        let has_twins = has_followers && dice.below(6) == 0;
        let rotations: Vec<_> = (0..followed)
            .map(|number| match dice.below(4) {
                _ if restores || has_twins && number == 0 => Rotation::No,
                0 => Rotation::Rename(1),
                1 => Rotation::CopyTruncate(1 + dice.below(2)),
                _ => Rotation::No,
            })
            .collect();
        let in_one_file = dice.below(5) == 0;
        let mut receiver = vec!["--lanes", dice.one_of(&["1", "2"])];
        if !in_one_file {
            let rotate = dice.one_of(&["", "5k", "50k"]);
            if !rotate.is_empty() {
                receiver.extend(["--rotate", rotate]);
                if dice.below(2) == 0 {
                    receiver.push("--compress");
                }
            }
        }
        let name = dice.one_of(&["all.log", "{client}/all.log", "{stream}.log"]);
        let count = 3 + dice.below(5);
        let steps = (0..count)
            .map(|_| Step::roll(&mut dice, restores, followed))
            .collect();
        Plan {
            seed,
            receiver,
            name: (!in_one_file).then(|| name.to_owned()),
            kind: if is_alone { Kind::Any } else { Kind::Tagged },
            lines: 100 + dice.below(300),
            encode: dice.one_of(&["zstd", "gzip", "zlib", "none"]),
            followed: rotations,
            has_twins,
            resumed: usize::from(has_resumed && !is_alone && !restores),
            // The only sender's lines need no tag.
            relp: if is_alone { 0 } else { 1 + dice.below(2) },
            plain: if is_alone { 0 } else { dice.below(2) },
            restores,
            steps,
        }
    }
}

impl Step {
    fn roll(dice: &mut Dice, restores: bool, followed: usize) -> Self {
        let pause = Duration::from_millis(dice.one_of(&[0, 0, 20, 300]));
        if restores {
            return Step::KillReceiver { pause };
        }
        let kinds = if followed > 0 { 9 } else { 6 };
        match dice.below(kinds) {
            0 => Step::CutAll,
            1..4 => Step::KillReceiver { pause },
            4 => Step::StopReceiver,
            5 => Step::FillDisk {
                time: Duration::from_millis(dice.below(1500) as u64),
            },
            6 | 7 => Step::KillFollower(dice.below(2)),
            _ => Step::KillBoth {
                number: dice.below(2),
                pause,
            },
        }
    }
}
