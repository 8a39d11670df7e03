//! Executors that are wrong on purpose. What the oracle does not catch it does not check.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// An upload is confirmed before it is answered.
    ConfirmsBeforeTheAnswer,
    /// A failed upload counts as confirmed.
    ConfirmsFailures,
    /// "Exists already" counts as ours, without reading it back.
    NeverReadsBack,
    /// "Exists already" replaces what is there.
    Overwrites,
    /// Local files are removed when their upload fails.
    DropsFailedFiles,
    /// A reset frees captured commits that are nowhere else.
    ResetsTooEarly,
    /// The application is started before it is allowed to.
    StartsTheApplicationFirst,
    /// The application is allowed to start as soon as the lock is taken: before the database is
    /// armed.
    StartsBeforeArming,
    /// The database is called armed before its WAL is pinned.
    PinsTheWalLater,
    /// The lock is not waited for: the database is armed although another process has it.
    NeverWaitsForTheLock,
    /// A fence does not stop the application.
    IgnoresTheFence,
    /// A history that went on elsewhere is continued as if it were ours.
    ContinuesAnything,
    /// The tail that was captured when the WAL was reset is forgotten.
    ForgetsTheTail,
    /// While an upload hangs, the database's lane does nothing.
    WaitsForTheBucket,
    /// The deadline is not told.
    MissesTheDeadline,
    /// A sync is answered when its commits are captured, not when they are confirmed.
    AnswersSyncsWhenCaptured,
    /// A caller that waits for a checkpoint is answered when its commits are uploaded.
    SyncsInsteadOfCheckpointing,
    /// What waits for its upload counts as uploaded if its TXID is taken.
    TakesFilesForOurs,
    /// Another database goes over the history.
    ShipsStrangers,
    /// The file is taken for the one that was replicated before it is compared, because what waited
    /// beside it is uploaded.
    KnowsTooEarly,
    /// When a database is opened again, commits that are not in its WAL any more are taken for
    /// captured.
    MissesWhatCameWhileClosed,
    /// Local files that a mirror has are merged, and get other numbers.
    MergesWhatMirrorsHave,
    /// The history is said to be sealed although nothing was created.
    SaysSealedTooEarly,
    /// Objects are created without permission, before the history is sealed.
    CreatesWithoutPermission,
    /// Who asks in which TXID its commits will be is told the newest one; the WAL is not looked at.
    PromisesWithoutALook,
}

impl Broken {
    pub const ALL: [Broken; 25] = [
        Broken::ConfirmsBeforeTheAnswer,
        Broken::ConfirmsFailures,
        Broken::NeverReadsBack,
        Broken::Overwrites,
        Broken::DropsFailedFiles,
        Broken::ResetsTooEarly,
        Broken::StartsTheApplicationFirst,
        Broken::StartsBeforeArming,
        Broken::PinsTheWalLater,
        Broken::NeverWaitsForTheLock,
        Broken::IgnoresTheFence,
        Broken::ContinuesAnything,
        Broken::ForgetsTheTail,
        Broken::WaitsForTheBucket,
        Broken::MissesTheDeadline,
        Broken::AnswersSyncsWhenCaptured,
        Broken::SyncsInsteadOfCheckpointing,
        Broken::TakesFilesForOurs,
        Broken::ShipsStrangers,
        Broken::KnowsTooEarly,
        Broken::MissesWhatCameWhileClosed,
        Broken::MergesWhatMirrorsHave,
        Broken::SaysSealedTooEarly,
        Broken::CreatesWithoutPermission,
        Broken::PromisesWithoutALook,
    ];
}
