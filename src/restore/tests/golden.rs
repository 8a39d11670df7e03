use crate::remote::{Layout, Level};
use crate::restore::Target;
use crate::restore::testing::golden::{digest, lines, number, replica, try_restore};
use crate::restore::testing::history::txid;

/// 0.5.9 and 0.5.15 write LZ4 frames, 0.5.17 blocks.
#[tokio::test]
async fn every_point_of_a_replica_of_litestream_0_5_is_restored_page_for_page() {
    for name in ["litestream-0.5.9", "litestream-0.5.15", "litestream-0.5.17"] {
        let (_, remote) = replica(name, Layout::Directories);
        let listing = remote.listing().await.expect("list");
        for (level, files) in [(0, 1..3), (1, 3..99), (2, 2..99), (9, 2..99)] {
            let found = listing.level(Level::new(level).expect("a level")).len();
            assert!(files.contains(&found), "{name}: {found} files on level {level}: not what the test is for");
        }
        let points = lines(name, "points.txt");
        for point in &points {
            let (_, database) = try_restore(&remote, Target::Before(number(&point[0]))).await.expect("restores");
            let wanted = (number(&point[1]), &point[2]);
            assert_eq!((database.len() as i64, &digest(&database)), wanted, "{name}: {point:?}");
        }
        let (_, database) = try_restore(&remote, Target::Latest).await.expect("restores");
        assert_eq!(digest(&database), points[points.len() - 1][2], "{name}");
    }
}

/// Every page an LZ4 frame without a size, as Litestream 0.5.0 to 0.5.15 wrote them, and a file
/// that mixes both flavours.
#[tokio::test]
async fn every_transaction_of_a_replica_of_litestream_0_5_0_is_restored_page_for_page() {
    const NAME: &str = "ltx-0.5.0";
    let (_, remote) = replica(NAME, Layout::Directories);
    for point in lines(NAME, "points.txt") {
        let txid = txid(point[0].parse().expect("a number"));
        let (_, database) = try_restore(&remote, Target::Txid(txid)).await.expect("restores");
        assert_eq!((database.len() as i64, digest(&database)), (number(&point[1]), point[2].clone()), "{point:?}");
    }
    let (_, database) = try_restore(&remote, Target::Latest).await.expect("restores");
    assert_eq!(database.len(), 5 * 1024);
}
