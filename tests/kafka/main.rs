//! The program with a real cluster of Kafka. (With librdkafka's mock cluster, tests/program/kafka.rs tests it.)

mod brokers;
mod delivery;
#[cfg(feature = "kafka-gssapi")]
mod kerberos;
mod kills;
mod outages;
mod resumed;
mod security;

#[path = "../common"]
mod common {
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod authority;
    pub mod child;
    #[allow(dead_code, reason = "the library's tests use more of it")]
    pub mod client;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod clients;
    #[allow(dead_code, reason = "the tests under load use more of it")]
    pub mod dice;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod process;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod program;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod shipped;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod skip;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod status;
    #[allow(dead_code, reason = "the program's tests use more of it")]
    pub mod terminal;
}
