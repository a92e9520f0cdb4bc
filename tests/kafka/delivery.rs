//! Lines in a topic, and their acknowledgements.

use crate::brokers::Brokers;
use crate::common::program::Client;

#[test]
fn a_stream_with_a_receipt_is_in_the_topic_although_a_node_dies() {
    let Some(brokers) = Brokers::start() else {
        return;
    };
    brokers.topic("logs", 2, &[]);
    let program = brokers.start_program("logs", &["--receipt"]);
    let mut client = Client::connect(program.address());
    client.write(b"before\n").unwrap();
    brokers.kill(2);
    client.write(b"after\n").unwrap();
    let receipt = client.finish_for_receipt().unwrap();
    assert!(receipt.starts_with("{\"ok\":true,"), "{receipt}");
    assert_eq!(brokers.lines("logs"), ["before", "after"]);
    brokers.revive(2);
}
