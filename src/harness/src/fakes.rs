//! Where the two fakes meet the pump: the same shape, two sets of types.

use crate::pump::{Fake, Out, Request};
use jiff::Timestamp;

macro_rules! fake {
    ($fake:ty, $room:ident) => {
        impl Fake for $fake {
            type Ticket = $room::Ticket;

            fn submit(&mut self, now: Timestamp, request: Request) -> Self::Ticket {
                <$fake>::submit(self, now, request)
            }
            fn cancel(&mut self, now: Timestamp, ticket: Self::Ticket) {
                <$fake>::cancel(self, now, ticket);
            }
            fn next_due(&self) -> Option<Timestamp> {
                <$fake>::next_due(self)
            }
            fn advance(&mut self, now: Timestamp) -> Vec<Out<Self::Ticket>> {
                let outs = <$fake>::advance(self, now);
                outs.into_iter()
                    .map(|out| match out {
                        $room::Out::Reply(ticket, response) => Out::Reply(ticket, response),
                        $room::Out::Head(ticket, parts) => Out::Head(ticket, parts),
                        $room::Out::Chunk(ticket, bytes) => Out::Chunk(ticket, bytes),
                        $room::Out::End(ticket) => Out::End(ticket),
                    })
                    .collect()
            }
            fn unsettled(&self) -> Vec<String> {
                <$fake>::unsettled(self)
            }
        }
    };
}

fake!(fake_kube::Kube, fake_kube);
fake!(fake_ec2::Cloud, fake_ec2);
