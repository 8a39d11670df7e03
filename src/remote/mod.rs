//! The bucket side: LTX names, written once for every store.
