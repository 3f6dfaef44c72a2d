// Package scaffold drafts a configuration from a database's schema: for each
// table the keys that its primary key, unique indexes and foreign keys suggest,
// and the statements that make the database tell what those keys need. It reads
// the catalog and changes nothing.
//
// It is a package of its own, as the command that prints the draft is thin, and
// neither the catalog (which knows no rules) nor the checks (which judge rules
// and write none) is the place to make names up.
//
// # The names
//
// A row's key is the table's name in the singular and its primary key:
// orders → order:{id}, "OrderItem" → order_item:{orderId}:{line}. A list is the
// table in the plural and the table that it belongs to: orders.client_id →
// orders:client:{client_id}. Where a table refers to another one twice, or to
// itself, the column says which list it is: posts:author:{author_id}. A unique
// index names a row by its columns: user:email:{email}, or, where it is a
// foreign key as well, by the parent: profile:user:{user_id}. A table that only
// joins two others stands for the lists on both sides: posts:tag:{tag_id}.
//
// English plurals are guessed. Everything is meant to be edited: what counts is
// that no key of the schema is forgotten, and that the draft passes every check.
package scaffold
