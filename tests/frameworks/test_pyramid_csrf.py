"""Pyramid's own CSRF checks and its authentication helper, on our session."""

import pytest

from tests.frameworks.pyramid_apps import (
    Request,
    SessionAuthenticationHelper,
    SessionCSRFStoragePolicy,
    Site,
    app_of,
    check_csrf_token,
    configured,
    get_csrf_token,
    httpexceptions,
    new_csrf_token,
)


@pytest.fixture
def site(sessions):
    return Site(sessions)


def checks(token):
    return lambda request: check_csrf_token(with_token(request, token), raises=False)


def with_token(request, token):
    request.headers["X-CSRF-Token"] = token
    return request


def test_each_page_has_another_token_and_each_of_them_is_good(site):
    one, other = (site.get(get_csrf_token).text for _ in range(2))
    assert one != other
    assert [site.get(checks(token)).text for token in (one, other, "x", "")] == [
        "True",
        "True",
        "False",
        "False",
    ]


def test_a_form_is_refused_without_its_token(sessions):
    config = configured(sessions)
    config.set_default_csrf_options(require_csrf=True, check_origin=False)
    app = app_of(config, form=get_csrf_token)
    page = Request.blank("/form", base_url="https://localhost").get_response(app)
    cookie = page.headers["Set-Cookie"].partition(";")[0]
    statuses = []
    for fields in ({"csrf_token": page.text}, {"csrf_token": page.text[::-1]}, {}):
        post = Request.blank("/form", base_url="https://localhost", POST=fields, headers={"Cookie": cookie})
        try:
            statuses.append(post.get_response(app).status_int)
        except httpexceptions.HTTPBadRequest as error:
            statuses.append(error.status_int)
    assert statuses == [200, 400, 400]


def test_a_new_token_makes_the_earlier_ones_worthless(site):
    old = site.get(get_csrf_token).text
    new = site.get(new_csrf_token).text
    assert [site.get(checks(token)).text for token in (old, new)] == ["False", "True"]


def test_a_sign_in_makes_the_earlier_tokens_worthless(site):
    old = site.get(get_csrf_token).text
    site.get(lambda request: request.session.sign_in("ada"))
    assert site.get(checks(old)).text == "False"


def test_the_sessions_own_token_stays_the_same_for_code_that_compares_it(site):
    def view(request):
        session = request.session
        first = session.get_csrf_token()
        assert first == session.get_csrf_token()
        assert session.check_csrf(first)
        renewed = session.new_csrf_token()
        assert renewed == session.get_csrf_token() != first
        assert not session.check_csrf(first)
        return renewed

    token = site.get(view).text
    assert site.get(lambda request: request.session.get_csrf_token()).text == token


def test_pyramids_policy_in_the_session_works_where_an_application_chooses_it(sessions):
    site = Site(sessions)
    site.config.set_csrf_storage_policy(SessionCSRFStoragePolicy())
    token = site.get(get_csrf_token).text
    assert site.get(get_csrf_token).text == token
    assert site.get(lambda request: request.session["_csrft_"]).text == token
    assert [site.get(checks(each)).text for each in (token, "x")] == ["True", "False"]
    new = site.get(new_csrf_token).text
    assert [site.get(checks(each)).text for each in (token, new)] == ["False", "True"]


def test_pyramids_helper_signs_in_and_out_by_the_identity_field(sessions):
    site, helper = Site(sessions, **{"coatcheck.identity": "auth.userid"}), SessionAuthenticationHelper()
    site.get(lambda request: request.session.update(basket=["scarf"]))
    before = dict(site.cookies)
    site.get(lambda request: helper.remember(request, "ada"))
    assert site.cookies != before
    assert (
        site.get(lambda request: (request.session.user, request.session["basket"])).text
        == "('ada', ['scarf'])"
    )
    assert len(sessions.of_user("ada")) == 1
    assert site.get(helper.authenticated_userid).text == "ada"
    site.get(helper.forget)
    assert sessions.of_user("ada") == []
    assert site.get(helper.authenticated_userid).text == "None"
