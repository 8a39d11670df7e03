//! The LTX codec: Litestream's file format, byte for byte.
