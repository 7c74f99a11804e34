-- The database that is backed up: customers with identifiers, events with documents, messages with text; always the same for the same
-- numbers :customers, :events and :messages.
create table customers (id uuid primary key, name text not null, email text not null, tags text[] not null, since date not null);
create table events (id bigint primary key, customer uuid not null, kind text not null, payload jsonb not null, at timestamptz not null);
create table messages (id bigint primary key, thread uuid not null, body text not null, at timestamptz not null);

-- 100,000 sentences of 8 to 37 words: more text than a compressor looks back at.
create temp table phrases as
    select n, string_agg(words[1 + abs(hashint4(n * 61 + i)) % 44], ' ' order by i) as body
    from generate_series(0, 99999) n, generate_series(1, 37) i,
        (select string_to_array('the order was shipped and arrived late so we sent a refund to your account please check the invoice again thank you for waiting our team will answer within two days because of holiday delivery payment failed retry update address', ' ') as words) w
    where i <= 8 + n % 30
    group by n;
create unique index on phrases (n);

insert into customers
    select md5('customer' || i)::uuid, initcap(left(body, 12)) || i, 'user' || i || '@example.org', array['tier-' || i % 4, 'region-' || i % 17],
        date '2020-01-01' + i % 2000
    from generate_series(1, :customers) i join phrases on n = i % 100000;

-- Two hundred sessions go on at a time, each of about thirty events. Every request has a trace of its own.
insert into events
    select i, md5('customer' || 1 + abs(hashint4(session)) % :customers)::uuid, (array['view', 'click', 'purchase', 'refund', 'signup'])[1 + i % 5],
        jsonb_build_object(
            'session', md5('session' || session)::uuid,
            'path', '/api/v1/orders/' || abs(hashint4(session + i % 3)) % 100000,
            'status', (array[200, 200, 200, 404, 500])[1 + abs(hashint4(i + 2)) % 5],
            'ms', abs(hashint4(i + 3)) % 1000,
            'amount', round(abs(hashint4(i + 4)) % 1000000 / 100.0, 2),
            'agent', (array['Mozilla/5.0 (X11; Linux x86_64)', 'curl/8.5.0', 'okhttp/4.12.0'])[1 + session % 3],
            'trace', md5('trace' || i)),
        timestamptz '2025-01-01' + i * interval '7 seconds'
    from generate_series(1, :events) i, lateral (select i / 6000 * 200 + abs(hashint4(i)) % 200 as session) s;

insert into messages
    select i, md5('thread' || i / 2000 * 100 + abs(hashint4(i + 6)) % 100)::uuid, body || ' ' || abs(hashint4(i)) % 1000000, timestamptz '2025-01-01' + i * interval '13 seconds'
    from generate_series(1, :messages) i join phrases on n = abs(hashint4(i + 5)) % 100000;

vacuum analyze customers, events, messages;
set role none;
checkpoint;
