//! Executors that are wrong on purpose. What the oracle does not catch it does not check.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The application is started although the next TXID is not ours.
    NeverSeals,
    /// A claim counts as released when it is old by the wall clocks of both.
    GoesByTheWallClock,
    /// Nothing is waited for: whatever is there counts as released.
    OpensAtOnce,
    /// A restarted instance does not know that it was superseded.
    ForgetsThatItWasSuperseded,
    /// The newest claim is removed as well, so that numbers begin anew.
    RemovesTheNewest,
    /// A claim without an answer counts as lost.
    TakesALostReplyForALoss,
    /// A holder never sees a later claim.
    IgnoresLaterClaims,
    /// A claim is released when the application has stopped, before the last upload.
    ReleasesBeforeTheLastUpload,
    /// Beats of others are read once, and look as if they stood still.
    ReadsOldBeats,
    /// The application is not stopped before the claim is released.
    LeavesTheApplication,
    /// What is committed without a claim is uploaded.
    UploadsAlone,
    /// The application without a claim is not stopped when another holder is seen.
    StaysAlone,
    /// What is not permitted is tried again and again.
    TriesForEver,
    /// A request without an answer counts as one that is not permitted.
    TakesSilenceForADenial,
}

impl Broken {
    pub const ALL: [Broken; 14] = [
        Broken::NeverSeals,
        Broken::GoesByTheWallClock,
        Broken::OpensAtOnce,
        Broken::ForgetsThatItWasSuperseded,
        Broken::RemovesTheNewest,
        Broken::TakesALostReplyForALoss,
        Broken::IgnoresLaterClaims,
        Broken::ReleasesBeforeTheLastUpload,
        Broken::ReadsOldBeats,
        Broken::LeavesTheApplication,
        Broken::UploadsAlone,
        Broken::StaysAlone,
        Broken::TriesForEver,
        Broken::TakesSilenceForADenial,
    ];
}
