//! Any bytes as a request of a service that speaks EC2's own form and XML.
#![no_main]

use fake_ec2::model::Protocol;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| dryfit_fuzz::through(Protocol::Ec2, input));
