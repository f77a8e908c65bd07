drop table inbound_messages;
