//! Any bytes as a request of a service that speaks JSON 1.0 and 1.1.
#![no_main]

use fake_ec2::model::Protocol;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| dryfit_fuzz::through(Protocol::Json, input));
