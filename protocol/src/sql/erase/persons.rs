//! What the names of columns say of persons: whether a store looks like one of persons, and
//! whether it holds what identifies or finds one. Looks never cause a write; they make a plan ask.

use crate::sql::catalog::{Column, Table};

/// What a column's name says it holds about a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trait {
    /// A person's name.
    Name,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// A date of birth.
    Birth,
    /// A part of a postal address.
    Address,
}

/// What a column holds about a person, as far as its name says.
pub fn holds(column: &Column) -> Option<Trait> {
    let words = words(&column.name);
    let last = words.last()?.as_str();
    let joined = words.concat();
    let any = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let within = |list: &[&str]| list.iter().any(|part| joined.contains(part));
    // `email_sent_at`, `phone_verified`, `name_id` speak of something else than the thing itself.
    const ABOUT: [&str; 16] = [
        "id",
        "at",
        "verified",
        "confirmed",
        "count",
        "type",
        "status",
        "sent",
        "opt",
        "enabled",
        "flag",
        "template",
        "subject",
        "body",
        "on",
        "valid",
    ];
    if ABOUT.contains(&last) && words.len() > 1 {
        return None;
    }
    if within(&["email", "courriel", "correo"]) || last == "mail" {
        return Some(Trait::Email);
    }
    if any(&["phone", "telephone", "mobile", "cell", "cellphone", "tel", "telefon", "handy", "fax"])
        || within(&["phone"])
    {
        return Some(Trait::Phone);
    }
    if any(&["dob", "birth", "birthday", "birthdate", "geburtsdatum", "naissance"])
        || within(&["birthdate", "birthday", "dateofbirth"])
    {
        return Some(Trait::Birth);
    }
    const NAMES: [&str; 20] = [
        "firstname",
        "lastname",
        "surname",
        "forename",
        "givenname",
        "familyname",
        "fullname",
        "middlename",
        "nickname",
        "maidenname",
        "username",
        "displayname",
        "fname",
        "lname",
        "vorname",
        "nachname",
        "prenom",
        "nombre",
        "apellido",
        "apellidos",
    ];
    const WHOSE: [&str; 22] = [
        "first",
        "last",
        "given",
        "family",
        "full",
        "middle",
        "nick",
        "maiden",
        "display",
        "legal",
        "contact",
        "customer",
        "client",
        "user",
        "person",
        "patient",
        "employee",
        "member",
        "holder",
        "owner",
        "recipient",
        "ship",
    ];
    let named =
        words.len() > 1 && last == "name" && WHOSE.contains(&words[words.len() - 2].as_str());
    if joined == "name" || named || NAMES.iter().any(|name| joined.ends_with(name)) {
        return Some(Trait::Name);
    }
    if any(&["street", "postcode", "postalcode", "zip", "zipcode", "strasse", "plz", "address"])
        || within(&["postalcode", "address1", "address2", "addressline"])
    {
        // An address of another kind.
        let other = any(&["ip", "mac", "url", "web", "wallet", "bus"]);
        return (!other).then_some(Trait::Address);
    }
    None
}

/// Whether a store looks like one of persons: its columns hold two of a person's name, e-mail,
/// phone and birth date.
pub fn looks_like_persons(table: &Table) -> bool {
    let mut found: Vec<Trait> =
        table.columns.iter().filter_map(holds).filter(|what| *what != Trait::Address).collect();
    found.sort();
    found.dedup();
    found.len() >= 2
}

/// The columns with a name, e-mail, phone or postal address.
pub fn personal_columns(table: &Table) -> Vec<&str> {
    let personal = |column: &&Column| holds(column).is_some_and(|what| what != Trait::Birth);
    table.columns.iter().filter(personal).map(|column| column.name.as_str()).collect()
}

/// A name's words in lower case: `BillingPostalCode`, `billing_postal_code`.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut previous_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() {
            previous_lower = false;
            words.push(String::new());
            continue;
        }
        if words.is_empty() || (c.is_uppercase() && previous_lower) {
            words.push(String::new());
        }
        previous_lower = c.is_lowercase() || c.is_numeric();
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    // `e_mail`, `E-Mail`.
    if let Some(place) = words.windows(2).position(|two| two == ["e", "mail"]) {
        words.splice(place..place + 2, ["email".to_owned()]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::types::Type;

    fn check(name: &str, expected: Option<Trait>) {
        assert_eq!(holds(&Column::new(name, "", Type::Text)), expected, "{name}");
    }

    #[test]
    fn a_columns_name_says_what_it_holds_about_a_person() {
        for name in ["FirstName", "last_name", "LASTNAME", "name", "contact_name", "userName"] {
            check(name, Some(Trait::Name));
        }
        for name in ["Email", "e_mail", "E-Mail", "contactEmail", "email_address"] {
            check(name, Some(Trait::Email));
        }
        for name in ["phone", "Phone2", "mobile_phone", "home_tel"] {
            check(name, Some(Trait::Phone));
        }
        for name in ["dob", "BirthDate", "date_of_birth", "birthday"] {
            check(name, Some(Trait::Birth));
        }
        for name in ["Address", "BillingPostalCode", "street", "zip"] {
            check(name, Some(Trait::Address));
        }
    }

    #[test]
    fn names_of_things_are_not_names_of_persons() {
        for name in [
            "product_name",
            "file_name",
            "email_sent_at",
            "phone_verified",
            "ip_address",
            "title",
            "company_name",
            "telemetry",
            "hotel",
            "name_id",
            "cancelled",
        ] {
            check(name, None);
        }
    }
}
