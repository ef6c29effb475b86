"""The parts of the customer.io adapter, from the settings up to the delivery of a batch.

settings      what `[destinations.NAME]` may say
rules         what a mapping may say, and the sizes that customer.io sets
answers       what customer.io answers: a status, a body, complaints
account       sentences about credentials, region and address
client        Track API requests, through the vendor's library on our transport
relations     what `relate` names, and how customer.io is told of it
operations    what a change becomes on the wire
batches       a batch sent, and each operation's answer found
app           App API requests, with their own key and pace
reading       what customer.io holds of given records
values        how it gives a value back
checking      credentials, region and object types, asked before the first run
"""
