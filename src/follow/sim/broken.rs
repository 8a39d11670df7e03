//! Executors that are wrong on purpose.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Of several files the first is left out: what is installed is not contiguous.
    SkipsAFile,
    /// A file that begins later is taken for the next one.
    TakesAnyFileForTheNext,
    /// The copy is taken for what was noted last, whatever it is.
    TrustsTheNote,
    /// A write of another program is not noticed.
    MissesForeignWrites,
    /// Whatever the replica holds is taken for the same history.
    TakesAnyHistory,
    /// Files are verified when their pages are committed already.
    CommitsUnverified,
    /// The pages behind the end stay.
    ForgetsToCut,
    /// Not all pages are in one transaction.
    InstallsInTwoHalves,
    /// It looks at an earlier listing, and says that it has everything.
    ListsWhatWasEarlier,
    /// What is pushed is not in the bucket yet.
    PushesWhatIsNotConfirmed,
    /// What is pushed later is taken for what follows.
    TakesAnyPushForTheNext,
    /// What an earlier primary pushes is taken for what the present one does.
    BelievesASupersededPrimary,
    /// A connection to the primary that is lost is taken for a quiet one.
    MissesALostConnection,
}

impl Broken {
    pub const ALL: [Broken; 13] = [
        Broken::SkipsAFile,
        Broken::TakesAnyFileForTheNext,
        Broken::TrustsTheNote,
        Broken::MissesForeignWrites,
        Broken::TakesAnyHistory,
        Broken::CommitsUnverified,
        Broken::ForgetsToCut,
        Broken::InstallsInTwoHalves,
        Broken::ListsWhatWasEarlier,
        Broken::PushesWhatIsNotConfirmed,
        Broken::TakesAnyPushForTheNext,
        Broken::BelievesASupersededPrimary,
        Broken::MissesALostConnection,
    ];
}
