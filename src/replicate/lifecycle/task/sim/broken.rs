//! Executors that are wrong on purpose. What the oracle does not catch it does not check.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// What may go goes at once, whoever is reading it.
    DeletesWithoutGrace,
    /// The window is a quarter of what was promised.
    ForgetsTheWindow,
    /// An output counts before the bucket has it.
    CountsBeforeItIsThere,
    /// An output counts although it is not what was written.
    NeverVerifies,
    /// What is looked into is always found to be sound.
    BelievesNames,
    /// Expired level-0 objects go whether a compacted object holds them or not.
    DeletesWhatNothingHolds,
    /// The newest snapshot goes together with what has expired.
    DropsTheNewestSnapshot,
    /// An input is left out of the merge.
    CompactsOverAGap,
    /// Inputs go as soon as their output is on its way.
    DeletesInputsFirst,
    /// Nothing is found to be marked.
    ForgetsMarks,
    /// Marks that cannot be listed count as none.
    TakesAnErrorForNoMarks,
    /// What the writer does not know goes, too.
    DeletesStrangers,
    /// It looks again although nothing will ever be due.
    NeverRests,
    /// It looks at the end of every nap, whether something is due or not.
    LooksAfterEveryNap,
}

impl Broken {
    pub const ALL: [Broken; 14] = [
        Broken::DeletesWithoutGrace,
        Broken::ForgetsTheWindow,
        Broken::CountsBeforeItIsThere,
        Broken::NeverVerifies,
        Broken::BelievesNames,
        Broken::DeletesWhatNothingHolds,
        Broken::DropsTheNewestSnapshot,
        Broken::CompactsOverAGap,
        Broken::DeletesInputsFirst,
        Broken::ForgetsMarks,
        Broken::TakesAnErrorForNoMarks,
        Broken::DeletesStrangers,
        Broken::NeverRests,
        Broken::LooksAfterEveryNap,
    ];
}
